"""Which rows are held out together, and what is said when there are too few of something?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.canon import digest_bytes
from trimtab.errors import CheckFailed
from trimtab.pipeline.folds import folds, thin
from trimtab.pipeline.model import Feature, Learnable, Split


def scene(n=60, *, task="regression", y=None, kind="row", groups=None, times=None, classes=()):
    learnable = Learnable(
        X=np.arange(n, dtype=np.float64).reshape(n, 1), y=np.arange(n) * 1.0 if y is None else np.asarray(y), task=task,
        features=(Feature(name="x", kind="number"),), classes=classes,
        groups=None if groups is None else np.asarray(groups), times=None if times is None else np.asarray(times) * 1.0)
    rows = np.random.default_rng(1).permutation(n)
    split = Split(train=np.sort(rows[n // 5:]), test=np.sort(rows[:n // 5]), kind=kind, seed=42,
                  digest=digest_bytes(b""))
    return learnable, split


@given(n=st.integers(10, 200), k=st.integers(2, 6), kind=st.sampled_from(["row", "group", "time"]))
def test_no_fold_scores_a_row_that_it_was_fitted_on(n, k, kind):
    """And the test rows are in none; by row and group every training row is scored exactly once."""
    rng = np.random.default_rng(n)
    learnable, split = scene(n, kind=kind, groups=rng.integers(0, 8, n), times=rng.integers(0, 40, n))
    made, _ = folds(learnable, split, k)
    scored = np.concatenate([fold.score for fold in made])
    for fold in made:
        assert not set(fold.fit) & set(fold.score)
        assert not set(split.test) & (set(fold.fit) | set(fold.score))
        if kind == "group":
            assert not set(learnable.groups[fold.fit]) & set(learnable.groups[fold.score])
        if kind == "time":
            assert learnable.times[fold.fit].max() < learnable.times[fold.score].min()
    if kind == "time":
        assert len(set(scored)) == len(scored)
    else:
        assert sorted(scored) == sorted(split.train)


def test_the_window_of_time_folds_expands():
    """The past predicts the next stretch."""
    made, notes = folds(*scene(120, kind="time", times=range(120)), 5)
    assert notes == ()
    assert [len(fold.fit) for fold in made] == [16, 32, 48, 64, 80]


def test_classes_are_stratified_and_a_rare_one_is_said():
    """Folds that lack a class are announced, not hidden."""
    y = np.array([0] * 50 + [1] * 47 + [2] * 3)
    learnable, split = scene(100, task="multiclass", y=y, classes=("a", "b", "rare"))
    made, notes = folds(learnable, split, 5)
    assert notes == ("fewer than 5 training rows of class rare: some folds lack it",)
    assert all(abs((learnable.y[fold.score] == 0).mean() - 0.5) < 0.15 for fold in made)


def test_too_few_rows_groups_or_times_give_fewer_folds_or_a_sentence():
    """Never a traceback from inside a library."""
    assert folds(*scene(10), 5)[1] == ("8 training rows: 4 folds instead of 5",)
    assert folds(*scene(60, kind="group", groups=np.arange(60) % 3), 5)[1] == ("3 groups: 3 folds instead of 5",)
    with pytest.raises(CheckFailed, match="all training rows are of one group"):
        folds(*scene(60, kind="group", groups=np.zeros(60, dtype=int)), 5)
    with pytest.raises(CheckFailed, match="all training rows have the same time"):
        folds(*scene(60, kind="time", times=np.zeros(60)), 5)
    with pytest.raises(CheckFailed, match="can't be cross-validated"):
        folds(*scene(3), 5)


def test_a_search_looks_at_a_sample_of_each_fold():
    """Bounded rows, in order, the last folds only."""
    made, _ = folds(*scene(1000), 5)
    small = thin(made, 120, np.random.default_rng(0), 3)
    assert len(small) == 3
    assert all(len(fold.fit) == 100 and (np.diff(fold.fit) > 0).all() for fold in small)
