"""The step cache: nothing is done twice, and `why` names what changed."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from trimtab import config
from trimtab.canon import digest_bytes
from trimtab.clock import FixedClock, SystemClock
from trimtab.errors import NotFound, UsageError
from trimtab.ids import Ids
from trimtab.pipeline import artifacts
from trimtab.pipeline.cache import Components, StepCache, flat_environment
from trimtab.pipeline.model import Feature, Learnable, Split
from trimtab.pipeline.steps import from_step, run_step
from trimtab.pipeline.train import components, train
from trimtab.store.blobs import put_bytes
from trimtab.store.blobs_local import LocalBlobs
from trimtab.store.leases import Leases
from trimtab.tracking.runs import Runs

BASE = Components(step="train:ridge", code={"models:make": "sha256:" + "a" * 64},
                  environment={"python": "3.11.2", "package numpy": "2.3.0"}, parameters={"ridge.alpha": 1.0},
                  inputs={"learnable": "sha256:" + "1" * 64})


@pytest.fixture
def blobs(tmp_path):
    return LocalBlobs(tmp_path / "objects")


@pytest.fixture
def cache(db, blobs):
    return StepCache(db, blobs, FixedClock(), project="risk", sleep=lambda _: None)


def work(blobs, text=b"model"):
    def do():
        do.calls += 1
        return {"model": put_bytes(blobs, text)}
    do.calls = 0
    return do


def test_a_step_that_was_done_is_not_done_again(cache, blobs):
    """On every database."""
    do = work(blobs)
    first, second = cache.run(BASE, do), cache.run(BASE, do)
    assert (first.hit, second.hit, do.calls) == (False, True, 1)
    assert first.outputs == second.outputs


@pytest.mark.parametrize(("changed", "sentence"), [
    ({"parameters": {"ridge.alpha": 3.0}}, "parameter ridge.alpha: 1.0 → 3.0"),
    ({"environment": {"python": "3.11.2", "package numpy": "2.4.6"}}, "environment: package numpy 2.3.0 → 2.4.6"),
    ({"code": {"models:make": "sha256:" + "b" * 64}}, "code of models:make changed"),
    ({"code": {**BASE.code, "helpers": "sha256:" + "c" * 64}}, "code of helpers is new"),
    ({"inputs": {"learnable": "sha256:" + "2" * 64}}, "input learnable: sha256:111111 → sha256:222222"),
])
def test_why_names_the_component_that_changed(cache, blobs, changed, sentence):
    """And the step runs again."""
    do = work(blobs)
    cache.run(BASE, do)
    now = replace(BASE, **changed)
    why = cache.why(now)
    assert (why.hit, why.reasons) == (False, (sentence,))
    assert cache.run(now, do).hit is False


def test_why_says_that_a_step_is_a_hit_was_never_run_or_lost_its_blobs(cache, blobs):
    """In words."""
    assert str(cache.why(BASE)) == "train:ridge: runs: it was never run"
    outputs = cache.run(BASE, work(blobs)).outputs
    assert cache.why(BASE).reasons[0].startswith("code, environment, 1 parameter and 1 input are those of 2026-01-01")
    blobs.delete(outputs["model"])
    assert cache.why(BASE).reasons == ("its stored outputs were deleted",)
    assert cache.run(BASE, work(blobs)).hit is False


def test_what_raises_is_not_kept(cache, blobs):
    """The next run tries again, at once: the lease was given back."""
    def fail():
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        cache.run(BASE, fail)
    assert cache.run(BASE, work(blobs)).hit is False


def test_no_cache_does_it_again_and_the_first_writer_wins(cache, blobs):
    """A fresh run returns its own outputs; what is recorded stays as it was."""
    first = cache.run(BASE, work(blobs, b"one")).outputs
    fresh = cache.run(BASE, work(blobs, b"two"), fresh=True).outputs
    assert fresh != first
    assert cache.find(BASE) == first
    assert cache.keep(BASE, fresh) == first


def test_two_workers_do_not_do_the_same_step(db, blobs):
    """One does it, the other waits for it and takes its outputs."""
    entered, calls = threading.Event(), []

    def slow():
        calls.append(1)
        entered.set()
        assert waiting.wait(10)
        return {"model": put_bytes(blobs, b"model")}

    waiting = threading.Event()
    caches = [StepCache(db, blobs, SystemClock(), project="risk", holder=f"w{i}",
                        sleep=lambda _: waiting.set()) for i in range(2)]
    outcomes = []
    one = threading.Thread(target=lambda: outcomes.append(caches[0].run(BASE, slow)))
    one.start()
    assert entered.wait(10)
    outcomes.append(caches[1].run(BASE, slow))
    one.join(10)
    assert len(calls) == 1
    assert sorted(outcome.hit for outcome in outcomes) == [False, True]


def test_a_killed_worker_blocks_nobody_for_ever(db, blobs):
    """Its lease expires and the step is taken up."""
    clock = FixedClock()
    Leases(db, clock).take(f"step:{BASE.key.hex}", holder="killed", ttl=timedelta(minutes=10))
    cache = StepCache(db, blobs, clock, project="risk", sleep=lambda _: clock.advance(minutes=1))
    assert cache.run(BASE, work(blobs)).hit is False


def test_environment_facts_are_told_one_by_one():
    """A package's version is a fact of its own."""
    assert flat_environment({"schema": "x", "python": "3.11.2", "packages": {"numpy": "2.4"}, "threads": {}}) == {
        "python": "3.11.2", "package numpy": "2.4", "threads": "{}"}


def test_from_a_step_means_it_and_all_that_follow():
    """`--from train:ridge` does that candidate again, and the evaluation."""
    assert from_step("split") == {"split", "train", "evaluate"}
    assert from_step("read") == {"read", "split", "encode", "train", "evaluate"}
    assert from_step("train:ridge") == {"train:ridge", "evaluate"}
    with pytest.raises(NotFound, match="did you mean 'split'"):
        from_step("splt")


@pytest.fixture
def scene(db, blobs, tmp_path):
    """A project of two candidates of its own; returns train() and its parts."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    learnable = Learnable(X=X, y=X[:, 0] + rng.normal(size=60), task="regression",
                          features=(Feature(name="a", kind="number"), Feature(name="b", kind="number")))
    split = Split(train=np.arange(48), test=np.arange(48, 60), kind="row", seed=1, digest=digest_bytes(b"s"))
    models = tmp_path / "models.py"
    models.write_text("from sklearn.linear_model import Lasso, Ridge\nALPHA = 1.0\n"
                      "def one():\n    return Ridge(ALPHA)\ndef two():\n    return Lasso(0.1)\n")
    cache = StepCache(db, blobs, FixedClock(), project="risk")
    runs = Runs(db, FixedClock(), Ids())

    def go(toml="", **more):
        project = config.parse('[model]\nname = "risk"\ndata = "d.csv"\n[train]\n'
                               f'candidates = ["models:one", "models:two", "ridge"]\n{toml}', root=tmp_path)
        return train(learnable, split, project, blobs=blobs, runs=runs, by="ann", cache=cache, **more), project
    return go, models, cache, learnable, split


def test_editing_one_candidate_fits_only_that_one_again(scene):
    """Both stand in one file; the other's step, the built-in's and the baseline's come from the cache."""
    go, models, cache, learnable, split = scene
    first, _ = go()
    assert first.cached == ()
    models.write_text(models.read_text().replace("ALPHA = 1.0", "ALPHA = 50.0"))
    second, project = go()
    assert second.cached == ("train:models:two", "train:ridge", "train:dummy")
    assert second.candidates[0].mean != first.candidates[0].mean
    assert second.candidates[1:] == first.candidates[1:]
    inputs = {"learnable": artifacts.learnable_digest(learnable), "split": artifacts.split_digest(split)}
    models.write_text(models.read_text().replace("50.0", "60.0"))
    assert cache.why(components("models:one", project, inputs)).reasons == ("code of models:one changed",)


def test_a_comment_or_docstring_changes_nothing(scene):
    """Only what runs counts."""
    go, models, *_ = scene
    go()
    models.write_text("# a comment\n" + models.read_text().replace("def one():\n", 'def one():\n    """Ours."""\n'))
    assert len(go()[0].cached) == 4


def test_a_pinned_parameter_touches_one_candidate(scene):
    """And `fresh` does all again with the same models."""
    go, *_ = scene
    first, _ = go()
    pinned, _ = go("[train.params.ridge]\nalpha = 3.0\n")
    assert pinned.cached == ("train:models:one", "train:models:two", "train:dummy")
    again, _ = go(fresh=from_step("train"))
    assert again.cached == ()
    assert [r.model for r in again.candidates] == [r.model for r in first.candidates]


def test_a_worker_runs_a_step_from_references_alone(scene, blobs, tmp_path):
    """Import path, step, parameters, digests: the outputs are those of the training in this process."""
    go, _, _, learnable, split = scene
    report, _ = go()
    inputs = {"learnable": artifacts.save_learnable(blobs, learnable), "split": artifacts.save_split(blobs, split)}
    outputs = run_step("trimtab.pipeline.steps:PROJECT", "train:models:two", {
        "candidate": "models:two", "pinned": {}, "folds": 5, "threads": 1, "memory_bytes": 2**31, "rules": {}}, inputs,
        blobs=str(tmp_path / "objects"), root=str(tmp_path))
    assert outputs["model"] == report.candidates[1].model
    with pytest.raises(UsageError, match="step split: missing a required argument: 'frame'; it takes frame, project"):
        run_step("trimtab.pipeline.steps:PROJECT", "split", {}, {}, blobs=str(tmp_path / "objects"))
    with pytest.raises(UsageError, match="is not a pipeline"):
        run_step("trimtab.nowhere:X", "train", {}, {}, blobs="b")
