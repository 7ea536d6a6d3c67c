"""Which data was that?"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.clock import FixedClock
from trimtab.data.infer import infer_contract
from trimtab.data.profile import from_json, profile, to_json
from trimtab.data.readers import from_frame
from trimtab.data.versions import Datasets, content_digest
from trimtab.errors import Malformed, NotFound
from trimtab.keys import Keyring
from trimtab.store.blobs_local import LocalBlobs
from trimtab.store.journal import Journal

FRAME = from_frame(pl.DataFrame({
    "rate": [0.5, None, 0.7, 0.1], "n": [1, 2, None, 4], "地区": ["北", "南", "北", None],
    "ok": [True, False, None, True],
    "when": [dt.datetime(2026, 1, 1), None, dt.datetime(2026, 1, 3), dt.datetime(1969, 1, 1)],
    "y": [1.0, 2.0, 3.0, 4.0]}))


@pytest.fixture
def datasets(db, tmp_path):
    from trimtab.store import migrate

    migrate.upgrade(db)
    clock = FixedClock()
    return Datasets(db, LocalBlobs(tmp_path / "objects"), Journal(db, Keyring(tmp_path / "keys"), clock), clock)


def test_data_are_kept_by_their_content(datasets):
    """Rows come back as they were; the same content is the same version, whatever it was called."""
    contract = infer_contract(FRAME.frame)
    made = datasets.record(FRAME, contract, by="ann")
    assert (made.rows, made.columns, made.contract) == (4, tuple(FRAME.frame.columns), contract.digest)
    assert datasets.load(made.digest).equals(FRAME.frame)
    assert datasets.record(replace(FRAME, source="other"), contract, by="bob") == made
    assert datasets.get(made.digest[:14]) == made
    assert datasets.list() == (made,)
    assert datasets.profile(made.digest) == profile(FRAME.frame, contract)


def test_another_contract_for_the_same_data_is_journalled(datasets):
    """The bytes are not copied again; who changed the contract is known."""
    contract = infer_contract(FRAME.frame)
    first = datasets.record(FRAME, contract, by="ann")
    second = datasets.record(FRAME, replace(contract, owner="risk"), by="bob")
    assert (second.digest, second.parquet) == (first.digest, first.parquet)
    assert second.contract != first.contract
    assert [entry.kind for entry in datasets._journal.rows()] == ["dataset.record", "dataset.contract"]


def test_a_version_that_is_not_there_is_named(datasets):
    """Not an empty frame."""
    with pytest.raises(NotFound, match="no dataset version"):
        datasets.load("sha256:" + "0" * 64)


def test_the_identity_is_defined_by_a_layout_and_not_by_a_library():
    """A fixed digest: it must never change, whatever Polars or Parquet do."""
    assert content_digest(FRAME.frame) == GOLDEN
    chunked = pl.concat([FRAME.frame.head(1), FRAME.frame.tail(3)], rechunk=False)
    assert content_digest(chunked) == GOLDEN


GOLDEN = "sha256:2009dc58172d5db15d012084f617586d755ac2873b14e6d331ce090a65e23160"


@given(st.lists(st.tuples(st.none() | st.integers(-9, 9), st.none() | st.text(max_size=3)), min_size=1, max_size=6),
       st.lists(st.tuples(st.none() | st.integers(-9, 9), st.none() | st.text(max_size=3)), min_size=1, max_size=6))
def test_different_content_has_a_different_digest(a, b):
    """Order, missing values and where one text ends count."""
    schema = {"n": pl.Int64, "t": pl.String}
    one, two = (from_frame(pl.DataFrame(rows, schema=schema, orient="row")).frame for rows in (a, b))
    assert (content_digest(one) == content_digest(two)) == one.equals(two)


def test_a_profile_has_a_sketch_for_each_column_but_ids_and_free_text():
    """And comes back from JSON bit for bit."""
    frame = FRAME.frame.with_columns(id=pl.Series([1, 2, 3, 4]))
    made = profile(frame, infer_contract(frame, target="y"))
    assert set(made) == {"rate", "n", "ok", "when", "y"}    # 地区: too few values come back
    assert made["n"].missing == 1
    assert from_json(to_json(made)) == made
    with pytest.raises(Malformed):
        from_json({"schema": "other"})
