"""A verdict between two equal models is rare by chance, also where rows hang together."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab import canon
from trimtab.pipeline.held_out import HeldOutRows
from trimtab.pipeline.model import Learnable, Split

ROWS = 480


def _rows(kind):
    data = Learnable(X=np.zeros((ROWS, 1)), y=np.zeros(ROWS), task="regression", features=(),
                     groups=np.arange(ROWS) // 12, times=np.arange(ROWS, dtype=np.float64))
    split = Split(train=np.empty(0, np.int64), test=np.arange(ROWS), kind=kind, seed=0, digest=canon.digest_bytes(b""))
    return HeldOutRows.of(data, split, positive=1, rng=np.random.default_rng(0))


def _noise(kind, rng):
    if kind == "row":
        return rng.normal(size=ROWS)
    if kind == "group":
        return np.repeat(rng.normal(size=ROWS // 12), 12) + rng.normal(size=ROWS) * 0.5
    found = np.empty(ROWS)
    level = 0.0
    for row, shock in enumerate(rng.normal(size=ROWS)):
        level = 0.6 * level + shock
        found[row] = level
    return found


@pytest.mark.parametrize(("kind", "most"), [("row", 0.085), ("group", 0.085), ("time", 0.12)])
def test_two_equal_models_differ_by_chance_in_about_5_percent_of_evaluations(kind, most):
    """400 evaluations each: `most` is three standard errors over 5%; a little more in time, where blocks are a guess.

    Taking rows as independent would be wrong in some 60% (groups) and 30% (time).
    """
    rows = _rows(kind)
    wrong = naive = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        difference = _noise(kind, rng)
        base = rng.chisquare(1, ROWS)
        found = rows.compare(base, base + difference, role="beats", against="other", metric="mse")
        alone = _rows("row").compare(base, base + difference, role="beats", against="other", metric="mse")
        wrong += found.p <= 0.05
        naive += alone.p <= 0.05
        assert (found.verdict == "tie") == (found.p > 0.05)
    assert wrong / 400 <= most
    assert kind == "row" or naive / 400 > 0.25


def test_a_real_difference_is_found_and_its_sign_is_the_chosen_model_s():
    rows = _rows("row")
    rng = np.random.default_rng(0)
    losses = rng.chisquare(1, ROWS)
    assert rows.compare(losses, losses + 1 + rng.normal(size=ROWS), role="beats", against="other",
                        metric="mse").verdict == "better"
    assert rows.compare(losses + 1 + rng.normal(size=ROWS), losses, role="beats", against="other",
                        metric="mse").verdict == "worse"


def test_identical_answers_are_a_tie():
    losses = np.random.default_rng(0).chisquare(1, ROWS)
    found = _rows("time").compare(losses, losses, role="champion", against="risk@v1", metric="mse")
    assert (found.verdict, found.p, found.words) == ("tie", 1.0, "tie: MSE differs by 0 ± 0 (paired, n = 480)")
