"""Looked at after every row, the bound on a wrong word holds; and what is there is found."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import UsageError
from trimtab.stats.always import above_zero, log_wealth

RUNS, ROWS, ALPHA = 2_000, 3_000, 0.05
# (values, probabilities): the mean is 0 exactly, the hardest case that still counts as "not above"
BOUNDARY = [
    pytest.param([0.99, -0.01, -1.01], [0.02, 0.97, 0.01], id="one point more fail"),
    pytest.param([0.99, -0.01, -1.01], [0.305, 0.40, 0.295], id="many fail, one point more"),
    pytest.param([1.0, -9.0, -10.0], [0.5, 0.05, 0.005], id="a tenth as often"),
    pytest.param([1.0, -1.0], [0.5, 0.5], id="a fair coin"),
]


def crossings(values: list[float], chances: list[float], seed: int) -> np.ndarray:
    """When each of `RUNS` streams crossed first, looked at after every row; −1: never."""
    rng = np.random.default_rng(seed)
    odds = np.array([*chances, max(0.0, 1 - sum(chances))])
    kinds = len(values)
    y = np.append(values, 0.0)
    first = np.empty(RUNS, dtype=np.int64)
    for start in range(0, RUNS, 100):
        drawn = rng.choice(kinds + 1, size=(100, ROWS), p=odds / odds.sum())
        seen = (drawn[..., None] == np.arange(kinds + 1)).cumsum(axis=1)
        crossed = log_wealth(y, seen) >= math.log(1 / ALPHA)
        first[start:start + 100] = np.where(crossed.any(axis=1), crossed.argmax(axis=1), -1)
    return first


@pytest.mark.parametrize(("values", "chances"), BOUNDARY)
def test_where_nothing_is_there_it_is_rarely_said_although_one_looks_after_every_row(
        values: list[float], chances: list[float]) -> None:
    """At most α, within three standard errors of the simulation."""
    assert abs(float(np.dot(values, chances))) < 1e-9
    wrong = float((crossings(values, chances, seed=11) >= 0).mean())
    assert wrong <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / RUNS) ** 0.5


@pytest.mark.parametrize(("values", "chances", "within"), [
    ([0.99, -0.01, -1.01], [0.05, 0.95, 0.0], 400),            # 5% fail, none of the other's
    ([0.99, -0.01, -1.01], [0.5, 0.5, 0.0], 30),
    ([1.0, -9.0, -10.0], [0.2, 0.0, 0.0], 400),                # a class of 20% never comes
])
def test_what_is_there_is_found_soon(values: list[float], chances: list[float], within: int) -> None:
    first = crossings(values, chances, seed=12)
    assert float(((first >= 0) & (first < within)).mean()) >= 0.95


@given(st.lists(st.integers(0, 2), max_size=40), st.randoms(use_true_random=False))
def test_only_how_often_counts_and_wealth_is_fair(kinds: list[int], rng: object) -> None:
    """The order of rows changes nothing; nothing seen is no evidence; one step is worth 1 on average at mean 0."""
    counts = [kinds.count(kind) for kind in range(3)]
    now = float(log_wealth([1.0, 0.0, -1.0], counts))
    after = [float(log_wealth([1.0, 0.0, -1.0], [counts[0] + (step == 0), counts[1], counts[2] + (step == 2)]))
             for step in (0, 2)]
    assert (math.exp(after[0]) + math.exp(after[1])) / 2 == pytest.approx(math.exp(now), rel=1e-9)
    assert float(log_wealth([1.0, 0.0, -1.0], [0, counts[1], 0])) == pytest.approx(0.0, abs=1e-12)


def test_a_bet_that_can_not_lose_is_refused() -> None:
    with pytest.raises(UsageError, match="something to lose"):
        above_zero([1.0, 0.0], [3, 4], alpha=0.01)
