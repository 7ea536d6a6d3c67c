"""From a file to what estimators see, and each step only when something changed."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab import config
from trimtab.data import contract_toml
from trimtab.data.infer import infer_contract
from trimtab.data.readers import read_table
from trimtab.errors import CheckFailed, NotFound, UsageError
from trimtab.pipeline.cache import StepCache
from trimtab.pipeline.runner import Pipeline
from trimtab.pipeline.steps import run_step
from trimtab.workspace import Workspace

TOML = '[model]\nname = "risk"\ndata = "data.csv"\n'


def rows(n=200, bad=0):
    rng = np.random.default_rng(0)
    lines = ["age,city,day,risk"]
    for i in range(n):
        age = -5.0 if i < bad else round(float(rng.uniform(20, 80)), 2)
        city = ["Bern", "上海", ""][i % 3] if i % 17 == 0 else ["Bern", "上海"][i % 2]
        lines.append(f"{age},{city},2026-01-{i % 28 + 1:02d},{age * 0.1 + i % 2 + rng.normal() * 0.1:.4f}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def project(tmp_path):
    """A folder with data, contract and workspace; gives make(toml) → Pipeline."""
    (tmp_path / "data.csv").write_text(rows(), encoding="utf-8")
    workspace = Workspace.open(tmp_path / ".trimtab", create=True, actor="ann")
    contract = infer_contract(read_table("data.csv", root=tmp_path).frame)
    cache = StepCache(workspace.db, workspace.blobs, workspace.clock, project="risk")

    def make(toml="", contract=contract):
        return Pipeline(project=config.parse(TOML + toml, root=tmp_path), contract=contract, blobs=workspace.blobs,
                        datasets=workspace.datasets, runs=workspace.runs, by="ann", cache=cache)
    yield make
    workspace.close()


def test_a_file_becomes_a_matrix_a_target_and_a_split(project):
    """80/20 by row, the last column is the target, a missing category is NaN."""
    data = project().prepare()
    assert data.learnable.X.shape == (200, 3)
    assert [feature.kind for feature in data.learnable.features] == ["number", "category", "datetime"]
    assert data.learnable.features[1].missing
    assert np.isnan(data.learnable.X[:, 1]).any()
    assert (len(data.split.train), len(data.split.test), data.split.kind) == (160, 40, "row")
    assert data.learnable.dataset == data.dataset
    assert data.frame.height == 200


def test_an_unchanged_file_is_not_read_again(project):
    """The same dataset, split and matrix from the cache."""
    first, second = project().prepare(), project().prepare()
    assert (first.cached, second.cached) == ((), ("read", "split"))
    np.testing.assert_array_equal(first.learnable.X, second.learnable.X)
    assert first.split.digest == second.split.digest
    assert first.dataset == second.dataset
    assert project().prepare(fresh=frozenset({"read", "split"})).cached == ()


def test_a_dataset_version_is_prepared_again_after_its_file_is_gone(project, tmp_path):
    """What a run was trained on is what it is evaluated on."""
    first = project().prepare()
    (tmp_path / "data.csv").unlink()
    again = project().prepare(dataset=first.dataset)
    np.testing.assert_array_equal(again.learnable.X, first.learnable.X)
    assert again.split.digest == first.split.digest
    assert again.source == first.source == "data.csv"


def test_rows_that_break_the_contract_are_counted_and_not_learned_from(project, tmp_path):
    """Quarantined with reasons, from the cache as well."""
    pipeline = project()
    pipeline.prepare()
    (tmp_path / "data.csv").write_text(rows(bad=3), encoding="utf-8")
    for _ in range(2):
        data = pipeline.prepare()
        assert len(data.rejected) == 3
        assert "age" in data.rejected[0].reason
        assert len(data.learnable.y) == 197
    (tmp_path / "data.csv").write_text(rows(bad=20), encoding="utf-8")
    with pytest.raises(CheckFailed, match=r"20 of 200 rows of data.csv \(10.0%\)"):
        pipeline.prepare()


def test_split_by_time_and_by_group_carry_their_column(project):
    """Sortable times, group codes."""
    by_time = project("split = { time = \"day\" }\n").prepare()
    times = by_time.learnable.times
    assert times[by_time.split.train].max() <= times[by_time.split.test].min()
    by_group = project("split = { group = \"day\" }\n").prepare()
    groups = by_group.learnable.groups
    assert not set(groups[by_group.split.train]) & set(groups[by_group.split.test])
    with pytest.raises(UsageError, match="split names the column 'dya'"):
        project("split = { time = \"dya\" }\n").prepare()


def test_a_transform_makes_the_columns_that_estimators_see(project, tmp_path):
    """The raw contract stays the one that requests are checked against."""
    (tmp_path / "features.py").write_text(
        "import polars as pl\ndef transform(frame):\n"
        "    return frame.select('city', root=pl.col('age').sqrt(), wday=pl.col('day').dt.weekday().cast(pl.Int64))\n")
    data = project('[train]\nfeatures = "features:transform"\n').prepare()
    assert [feature.name for feature in data.learnable.features] == ["city", "root", "wday"]
    assert [column.name for column in data.contract.features] == ["age", "city", "day"]
    assert [column.name for column in data.seen.features] == ["city", "root", "wday"]


def test_training_reads_splits_and_fits_only_what_changed(project):
    """The steps that came from the cache are named in the report."""
    toml = '[train]\ncandidates = ["linear", "ridge"]\nfolds = 3\n'
    first, _ = project(toml).train()
    assert first.cached == ()
    again, _ = project(toml).train()
    assert again.cached == ("read", "split", "train:linear", "train:ridge", "train:dummy")
    split, _ = project(toml).train(start="split")
    assert split.cached == ("read",)
    none, _ = project(toml).train(no_cache=True)
    assert none.cached == ()
    assert [r.model for r in none.candidates] == [r.model for r in first.candidates]


def test_why_names_what_changed_for_each_step(project, tmp_path):
    """Data, contract, split, parameter; and a hit says why it is one."""
    toml = '[train]\ncandidates = ["ridge"]\nfolds = 3\n'
    assert [str(why) for why in project(toml).why("read")] == ["read: runs: it was never run"]
    project(toml).train()
    assert all(why.hit for step in ("read", "split", "train") for why in project(toml).why(step))
    (why,) = project(toml + "[train.params.ridge]\nalpha = 3.0\n").why("train:ridge")
    assert why.reasons == ("parameter ridge.alpha: (not there) → 3.0",)
    (why,) = project("split = { seed = 7 }\n" + toml).why("split")
    assert why.reasons == ("parameter seed: 42 → 7",)
    (why,) = project("split = { seed = 7 }\n" + toml).why("train:ridge")
    assert why.reasons == ("split must run first: parameter seed: 42 → 7",)
    (tmp_path / "data.csv").write_text(rows(201), encoding="utf-8")
    assert project(toml).why("read")[0].reasons[0].startswith("input source: sha256:")
    assert project(toml).why("train:ridge")[0].reasons[0].startswith("read must run first: input source")
    with pytest.raises(NotFound, match="there is no step 'trian'"):
        project(toml).why("trian")


def test_a_worker_reads_splits_and_encodes_from_references(project, tmp_path):
    """Digest in, digest out: the blobs are those that this process would have made."""
    pipeline = project()
    data = pipeline.prepare()
    texts = {"project": TOML, "contract": contract_toml.render(pipeline.contract)}
    where = {"blobs": str(tmp_path / ".trimtab" / "objects"), "root": str(tmp_path)}
    steps = "trimtab.pipeline.steps:PROJECT"
    frame = run_step(steps, "read", texts, {}, **where)["frame"]
    assert frame == pipeline.datasets.get(data.dataset).parquet
    split = run_step(steps, "split", texts, {"frame": frame}, **where)["split"]
    learnable = run_step(steps, "encode", texts, {"frame": frame}, **where)["learnable"]
    from trimtab.pipeline import artifacts
    assert split == artifacts.split_digest(data.split)
    assert learnable == artifacts.learnable_digest(data.learnable)
