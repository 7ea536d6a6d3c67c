"""Labels come late, out of order, twice and corrected; the newest counts, and nothing is counted twice."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from trimtab.clock import FixedClock
from trimtab.errors import DataUnreadable, NotFound, UsageError
from trimtab.project.labelling import label
from trimtab.project.project import Project
from trimtab.store.db import Database
from trimtab.traffic.labels import Labels, Told
from trimtab.traffic.log import TrafficLog
from trimtab.traffic.segments import Record, Row


def test_a_repeated_label_is_no_news_and_another_value_is_a_correction(db: Database) -> None:
    clock = FixedClock()
    labels = Labels(db, clock)
    first = labels.put("风险", "prediction", [("p-2", 2.0), ("p-1", 1.0)], by="ann")
    assert first == Told(new=2, repeated=0, corrected=0)
    clock.advance(days=3)
    again = labels.put("风险", "prediction", [("p-1", 1.0), ("p-2", 5.0), ("p-3", 3.0)], by="bob")
    assert again == Told(new=1, repeated=1, corrected=1)
    found = labels.of("风险", "prediction", ["p-1", "p-2", "p-3", "p-4"])
    assert {key: one.value for key, one in found.items()} == {"p-1": 1.0, "p-2": 5.0, "p-3": 3.0}
    assert found["p-1"].at < found["p-2"].at               # when the truth that counts arrived
    assert labels.of("other", "prediction", ["p-1"]) == {}
    assert labels.of("风险", "key", ["p-1"]) == {}


def test_of_a_key_told_twice_in_one_delivery_the_last_counts(db: Database) -> None:
    labels = Labels(db, FixedClock())
    labels.put("risk", "key", [("a", "low"), ("a", "high")], by="ann")
    assert labels.of("risk", "key", ["a"])["a"].value == "high"


def test_a_large_delivery_is_kept_whole(db: Database) -> None:
    labels = Labels(db, FixedClock())
    assert labels.put("risk", "key", ((str(n), n) for n in range(3_000)), by="ann").new == 3_000
    assert len(labels.of("risk", "key", [str(n) for n in range(3_000)])) == 3_000


@pytest.fixture
def asked(live: Project) -> Project:
    """Two recorded predictions of a live model, one with a key."""
    log = TrafficLog(live.workspace.folder / "traffic", writer="w-00000000", now=live.workspace.clock)
    for number in (1, 2):
        row = Row(id=f"p-{number}", position=0, features={"a": 0.1, "b": 5.0}, output=1.0, key=f"c{number}")
        log.append(Record(batch=row.id, at=f"2026-01-0{number}T00:00:00.000000Z", model="y", endpoint="production",
                          version=1, stage="champion", verdict="kept", latency_us=9, rows=(row,)))
    log.close()
    return live


def test_labels_by_id_and_by_key_meet_their_predictions(asked: Project, tmp_path: Path) -> None:
    (tmp_path / "by_id.csv").write_text("prediction_id,y\np-1,10.5\n")
    assert label(asked.workspace, "y", tmp_path / "by_id.csv").new == 1
    told = label(asked.workspace, "y", pl.DataFrame({"customer": ["c2", "c9"], "y": [20.5, 1.0]}), key="customer")
    assert (told.new, told.unknown) == (2, 1)              # c9 is not known here yet: it may still come
    frame = asked.workspace.asked("y")
    assert frame["label"].to_list() == ["10.5", "20.5"]
    assert frame["label_at"].null_count() == 0


@pytest.mark.parametrize(("text", "key", "truth", "kind", "said"), [
    ("a,y\n1,2\n", None, None, UsageError, "no column of prediction ids"),
    ("id,y\np-1,2\n", "customer", None, UsageError, "no column 'customer'"),
    ("id,y\np-1,2\n", None, "yy", UsageError, "no column 'yy'. Did you mean y"),
    ("id,y\np-1,\np-2,3\n", None, None, DataUnreadable, "1 of 2 rows have no id or no y"),
    ("id,y\np-1,2\n", "y", None, UsageError, "can't be both"),
])
def test_labels_that_can_not_be_joined_are_said_so(asked: Project, tmp_path: Path, text: str, key: str | None,
                                                   truth: str | None, kind: type[Exception], said: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(kind, match=said):
        label(asked.workspace, "y", tmp_path / "labels.csv", key=key, truth=truth)


@pytest.mark.parametrize(("key", "truth"), [
    ("", 1.0), ("k" * 501, 1.0), ("a\nb", 1.0), ("a\0", 1.0), ("a", float("nan")), ("a", float("inf")), ("a", None),
    ("a", "t" * 501), ("a", date(2026, 1, 1))])
def test_what_can_be_no_key_or_no_truth_is_refused_and_nothing_of_its_delivery_is_kept(db: Database, key: str,
                                                                                       truth: object) -> None:
    labels = Labels(db, FixedClock())
    with pytest.raises(DataUnreadable):
        labels.put("risk", "key", [("good", 1.0), (key, truth)], by="ann")
    assert labels.of("risk", "key", ["good"]) == {}


def test_the_longest_key_and_truth_are_kept(db: Database) -> None:
    labels = Labels(db, FixedClock())
    labels.put("风" * 40, "key", [("险" * 500, "真" * 500)], by="ann")
    assert labels.of("风" * 40, "key", ["险" * 500])["险" * 500].value == "真" * 500


def test_a_project_tells_labels_of_its_model(asked: Project) -> None:
    assert asked.label(pl.DataFrame({"id": ["p-1"], "y": [3.0]})).to_json() == {
        "schema": "trimtab.labels/1", "new": 1, "repeated": 0, "corrected": 0, "unknown": 0}


def test_labels_of_an_unknown_model_are_refused(asked: Project) -> None:
    with pytest.raises(NotFound, match="no model"):
        label(asked.workspace, "nope", pl.DataFrame({"id": ["p-1"], "y": [1.0]}))
