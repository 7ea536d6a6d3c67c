"""What contract.toml does not let be recorded is not on disk, nothing that needs it pretends to have it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import polars as pl
import pytest
from tests.cli.conftest import Trimtab, write_linear
from tests.cli.conftest import trimtab as trimtab

from trimtab.data import contract_toml
from trimtab.data.contract import Column, Contract
from trimtab.data.edit import edit_text
from trimtab.errors import ConfigInvalid, UsageError
from trimtab.project.project import Project
from trimtab.traffic import closing
from trimtab.traffic.query import row_json
from trimtab.traffic.redaction import key_of, redacted
from trimtab.traffic.segments import Record, Row
from trimtab.workspace import Workspace

COLUMNS = (Column(name="who", type="text", role="id", log="hash"), Column(name="income", type="number", log="drop"),
           Column(name="city", type="category", unseen=True, log="hash"), Column(name="rate", type="number"),
           Column(name="y", type="number", role="target"))
CONTRACT = Contract(columns=COLUMNS)


def secret() -> bytes:
    return b"k" * 32


def record(why: str = "") -> Record:
    first = Row(id="p-1", position=0, features={"income": 51_234.5, "city": "Graz", "rate": 0.5}, output=1.0, key="ada",
              why=why)
    second = Row(id="p-2", position=1, features={**first.features, "income": 1.0}, output=2.0, key="ada")
    return Record(batch="p-1", at="", model="m", endpoint="production", version=1, stage="champion", verdict="kept",
                  latency_us=1, rows=(first, second))


def test_dropped_is_gone_hashed_is_equal_where_it_was_and_the_row_says_so() -> None:
    one, other = redacted(record(), CONTRACT, secret).rows
    assert set(one.features) == {"city", "rate"}
    assert one.features["rate"] == 0.5
    assert str(one.features["city"]).startswith("hmac:")
    assert (one.features["city"], one.key) == (other.features["city"], other.key)
    assert one.key == key_of("ada", CONTRACT, secret)
    assert one.key != one.features["city"]
    assert one.redacted == ("income", "city")
    assert one.key != key_of("ada", CONTRACT, lambda: b"j" * 32)


def test_a_reason_can_not_give_away_what_is_redacted() -> None:
    row, _ = redacted(record(why="last_good: income = 51234.5 is above the contract's max 9"), CONTRACT, secret).rows
    assert row.why == "last_good: the reason is not kept, since it may quote what is redacted"


def test_a_contract_that_keeps_everything_costs_nothing_and_has_the_digest_it_had() -> None:
    plain = Contract(columns=tuple(dataclasses.replace(column, log="keep") for column in COLUMNS))
    told = record()
    assert redacted(told, plain, lambda: pytest.fail("no secret is needed")) is told
    assert "log" not in contract_toml.render(plain)
    assert plain.watched is plain
    assert plain.digest != CONTRACT.digest


def test_the_contract_says_it_in_one_word_and_is_held_to_it() -> None:
    assert contract_toml.parse(contract_toml.render(edit_text(CONTRACT, "rate", log="hash"))).redacted == {
        "who": "hash", "income": "drop", "city": "hash", "rate": "hash"}
    with pytest.raises(UsageError, match="none of keep, hash, drop"):
        edit_text(CONTRACT, "rate", log="burn")
    with pytest.raises(UsageError, match="its role is target"):
        edit_text(CONTRACT, "y", log="drop")
    with pytest.raises(ConfigInvalid, match="log = 'dorp'"):
        contract_toml.parse('[columns.a]\ntype = "number"\nlog = "dorp"')


@pytest.fixture
def redacting(live: Project) -> Project:
    """The live version drops `b`, and no byte of it is on disk."""
    live.edit_contract("b", log="drop")
    project = Project.open(live.root, live.workspace)
    project.train(["ridge"])
    version = project.evaluate(note="redacts").version
    assert version is not None
    version.deploy()
    return project


def test_no_byte_of_it_is_on_disk_and_monitoring_does_not_take_it_for_missing(redacting: Project) -> None:
    folder = redacting.workspace.folder / "traffic"
    with redacting.endpoint() as endpoint:
        answer = endpoint.predict([{"a": 0.001 * place, "b": 5.4321} for place in range(1200)])
        [row] = [row for row in endpoint.traffic().iter_rows(named=True) if row["id"] == answer.ids[7]]
        assert row["features"] == '{"a":0.007}'
        assert row["redacted"] == '["b"]'
        found, told = redacting.workspace.traffic.find(answer.ids[7])
        assert row_json(found, told)["redacted"] == ["b"]
    import struct

    assert closing.close_all(folder) == 1
    written = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert struct.pack(">d", 5.4321) not in written
    assert b"5.4321" not in written
    assert pl.read_parquet(next(folder.glob("*/*.parquet")))["features"][0] == '{"a":0.0}'
    report, = redacting.workspace.monitor.report("y")
    assert 'b is not watched: redacted (log = "drop")' in report.notes
    stepped = redacting.workspace.monitor.step("y")
    assert stepped.opened == ()


def test_labels_find_a_hashed_key_and_none_that_was_dropped(trimtab: Trimtab, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    write_linear(folder / "plain.csv", rows=150)
    pl.read_csv(folder / "plain.csv").with_row_index("who").with_columns(pl.format("device-{}", "who").alias(
        "who")).write_csv(folder / "data.csv")
    trimtab("init", "data.csv")
    trimtab("contract", "edit", "who", "--role", "id", "--log", "hash")
    trimtab("train", "ridge")
    trimtab("evaluate")
    trimtab("deploy")
    project = Project.open(folder, opened := Workspace.open(folder / ".trimtab"))
    with opened, project.endpoint() as endpoint:
        answer = endpoint.predict([{"who": "device-7", "a": 0.1, "b": 5.0}, {"who": "device-8", "a": 0.1, "b": 5.0}])
        assert endpoint.label(["device-7"], [3.0]).unknown == 0
        assert endpoint.traffic()["label"].to_list() == ["3.0", None]
        segments = opened.folder.joinpath("traffic").rglob("*.log")
        assert b"device-7" not in b"".join(path.read_bytes() for path in segments)
        with opened.db.read() as conn:
            assert "device-7" not in str(conn.exec_driver_sql("select * from labels").all())
    assert "hmac:" in trimtab("traffic", "--id", answer.ids[0]).out
    trimtab("contract", "edit", "who", "--log", "drop")
    trimtab("train", "ridge")
    trimtab("evaluate")
    trimtab("deploy")
    (folder / "truths.csv").write_text("who,y\ndevice-7,3.0\n")
    assert "contract.toml drops who" in trimtab("label", "truths.csv", "--key", "who", code=2).err
