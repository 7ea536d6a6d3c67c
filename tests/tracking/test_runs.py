"""A run records what was tried; once closed it can't be changed."""

from __future__ import annotations

import math
import random

import pytest

from trimtab.canon import digest_json
from trimtab.clock import FixedClock
from trimtab.errors import Conflict, NotFound, UsageError
from trimtab.ids import Ids
from trimtab.store.db import Database
from trimtab.tracking.runs import Runs


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def runs(db: Database, clock: FixedClock) -> Runs:
    return Runs(db, clock, Ids(random.Random(7).randbytes))


def test_a_run_gives_back_what_it_recorded(runs: Runs) -> None:
    parent = runs.start("train", "风险", by="ann", params={"folds": 5, "candidates": ["linear"], "text": "plain"})
    child = runs.start("candidate", "风险", by="ann", parent=parent.id, tags={"note": "值"})
    runs.log(child.id, {"mse": 2.5, "bad": math.nan}, step=0)
    runs.log(child.id, {"mse": 1.5}, step=1)
    runs.log(child.id, {"mse": 1.25}, step=1)                  # the same step again replaces the value
    runs.finish(child.id, outputs={"model": "sha256:" + "0" * 64})
    found = runs.get(child.shown)
    assert found.metrics == {"mse": 1.25, "bad": None}
    assert found.tags == {"note": "值"}
    assert found.status == "finished"
    assert runs.get(parent.id).params == {"folds": "5", "candidates": '["linear"]', "text": "plain"}
    assert [run.id for run in runs.list(parent=parent.id)] == [child.id]


def test_a_closed_run_is_fixed_by_its_digest(runs: Runs) -> None:
    run = runs.start("train", "risk", by="ann")
    closed = runs.finish(run.id)
    assert closed.digest == digest_json(closed.content())
    assert runs.get(run.id).digest == closed.digest
    with pytest.raises(Conflict, match="closed"):
        runs.log(run.id, {"mse": 1.0})
    with pytest.raises(Conflict, match="closed"):
        runs.finish(run.id)


def test_one_bad_value_leaves_none_of_the_batch(runs: Runs) -> None:
    run = runs.start("train", "risk", by="ann")
    with pytest.raises(TypeError):
        runs.log(run.id, {"good": 1.0, "bad": "text"})         # type: ignore[dict-item]
    assert runs.get(run.id).metrics == {}


def test_the_latest_finished_run_is_found_and_an_abandoned_one_is_not(runs: Runs, clock: FixedClock) -> None:
    first = runs.start("train", "risk", by="ann")
    runs.finish(first.id)
    clock.advance(seconds=1)
    runs.start("train", "risk", by="ann")                      # its process was killed: it stays "running"
    latest = runs.latest("risk", "train")
    assert latest is not None
    assert latest.id == first.id
    assert runs.latest("other", "train") is None


@pytest.mark.parametrize(("ref", "kind", "text"), [
    ("r-zz", UsageError, "not a run"), ("r-1", UsageError, "at least 3"), ("r-fffffff", NotFound, "no run begins"),
    ("../etc", UsageError, "not a run"), ("%", UsageError, "not a run"),
])
def test_a_run_that_is_not_there_is_said_so(runs: Runs, ref: str, kind: type[Exception], text: str) -> None:
    runs.start("train", "risk", by="ann")
    with pytest.raises(kind, match=text):
        runs.get(ref)
