"""A challenger is promoted when it is better, and wrongly at most as often as was promised, however often one looks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import canon
from trimtab.errors import Malformed, UsageError
from trimtab.loop.canary import Canary, differences, spent

PAIRS = st.lists(st.floats(-1, 1, allow_nan=False), max_size=60)


def answers(rng: np.random.Generator, n: int, gain: float, disagree: float = 0.08) -> Any:
    """Pairs of two classifiers that disagree on a share of the rows, one being right `gain` more often."""
    return rng.choice([1.0, -1.0, 0.0], size=n, p=[(disagree + gain) / 2, (disagree - gain) / 2, 1 - disagree])


def test_an_equal_challenger_is_promoted_wrongly_in_at_most_two_percent_of_500_runs() -> None:
    """20,000 labels each, a look after every one."""
    promoted = stopped = 0
    for seed in range(500):
        verdict = Canary(challenger=1, bound=1.0).after(answers(np.random.default_rng(seed), 20_000, 0.0)).verdict
        promoted += verdict == "better"
        stopped += verdict == "worse"
    assert promoted <= 10
    assert stopped <= 10


def test_a_better_challenger_is_seen_and_a_worse_one_soon() -> None:
    better, worse = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        better.append(Canary(challenger=1, bound=1.0).after(answers(rng, 20_000, 0.02)))
        worse.append(Canary(challenger=1, bound=1.0).after(answers(rng, 20_000, -0.05)))
    assert {one.verdict for one in better} == {"better"}
    assert {one.verdict for one in worse} == {"worse"}
    assert np.median([one.decided_at for one in better]) < 3_500
    assert np.median([one.decided_at for one in worse]) < 600


def test_every_challenger_of_an_endpoint_spends_less_so_that_all_of_them_spend_alpha() -> None:
    assert sum(spent(0.01, j) for j in range(1, 100_000)) == pytest.approx(0.01, rel=1e-4)
    first, second = (Canary(challenger=j, bound=1.0).threshold for j in (1, 2))
    assert first == pytest.approx(329, abs=0.5)
    assert second == pytest.approx(4 * first)
    with pytest.raises(UsageError, match="count from 1"):
        spent(0.01, 0)


@given(PAIRS)
def test_the_mixture_of_stakes_is_one_predictable_bet_between_nothing_and_a_half(pairs: list[float]) -> None:
    """The wealth equals the product of 1 + λ_i·d_i with λ_i from the earlier pairs: what the promise rests on."""
    wealth, product = np.ones(6), 1.0
    stakes = 0.5 ** np.arange(1, 7)
    for d in pairs:
        stake = float((wealth * stakes).sum() / wealth.sum())                   # known before d is
        assert 0 <= stake <= 0.5
        product *= 1 + stake * d
        wealth *= 1 + stakes * d
    state = Canary(challenger=1, bound=1.0).after(pairs)
    assert math.isclose(np.exp(state.better).mean(), product, rel_tol=1e-9)


@given(PAIRS, st.integers(0, 60))
def test_how_labels_are_batched_changes_nothing(pairs: list[float], cut: int) -> None:
    whole = Canary(challenger=2, bound=1.0).after(pairs)
    parts = Canary(challenger=2, bound=1.0).after(pairs[:cut]).after(pairs[cut:])
    assert (parts.n, parts.verdict, parts.decided_at) == (whole.n, whole.verdict, whole.decided_at)
    assert parts.better == pytest.approx(whole.better)
    assert parts.highest_worse == pytest.approx(whole.highest_worse)


@given(PAIRS)
def test_worse_mirrors_better(pairs: list[float]) -> None:
    one, other = (Canary(challenger=1, bound=1.0).after(sign * np.array(pairs)) for sign in (1, -1))
    assert one.better == other.worse
    assert {"better": "worse", "worse": "better", "open": "open"}[one.verdict] == other.verdict


def test_the_first_verdict_stays_and_is_found_within_a_batch() -> None:
    state = Canary(challenger=1, bound=1.0).after([0.5] * 60 + [-1.0] * 500)
    assert (state.verdict, state.decided_at) == ("better", Canary(challenger=1, bound=1.0).after([0.5] * 60).decided_at)
    assert state.decided_at < 60
    assert state.needed == 0


def test_a_verdict_is_recomputed_from_what_was_stored() -> None:
    state = Canary(challenger=3, bound=2.5).after(answers(np.random.default_rng(0), 900, 0.05), cursor="2026-01-01")
    told: Any = canon.loads(canon.dumps(state.to_json()))
    assert Canary.from_json(told) == state
    assert Canary.from_json(told).after([0.1]) == state.after([0.1])
    with pytest.raises(Malformed, match="another trimtab"):
        Canary.from_json({**told, "schema": "trimtab.canary/9"})


def test_a_pair_is_a_difference_of_clipped_losses() -> None:
    pairs = differences([4.0, 900.0, 1.0, np.nan, 2.0], [1.0, 0.0, 5.0, 1.0, np.nan], bound=10.0)
    assert pairs[:3].tolist() == pytest.approx([0.3, 1.0, -0.4])
    assert np.isnan(pairs[3])                              # no label: no pair
    assert pairs[4] == pytest.approx(-0.8)                 # a challenger that did not answer lost all
    assert Canary(challenger=1, bound=10.0).after(pairs).n == 4
    with pytest.raises(UsageError, match="positive number"):
        differences([1.0], [1.0], bound=0.0)
    with pytest.raises(UsageError, match="come in pairs"):
        differences([1.0], [1.0, 2.0], bound=1.0)
    with pytest.raises(UsageError, match="outside"):
        Canary(challenger=1, bound=1.0).after([1.5])


def test_it_says_about_how_many_labels_are_missing() -> None:
    """Too few labels are called too few; the estimate is of the right size."""
    rng = np.random.default_rng(5)
    state = Canary(challenger=1, bound=1.0).after(answers(rng, 300, 0.02))
    assert state.verdict == "open"
    assert state.words.startswith("cannot tell yet, about ")
    assert 100 <= state.needed <= 6_000
    done = state.after(answers(rng, 5_000, 0.05))
    assert done.words.startswith("the challenger is better: told after ")
    assert "e ≥ 329" in done.words


def test_a_regression_is_judged_by_clipped_squared_errors() -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(size=4_000)
    champion, challenger = (y - (y + rng.normal(scale=sd, size=4_000)) for sd in (1.0, 0.8))
    state = Canary(challenger=1, bound=9.0).after(differences(champion**2, challenger**2, bound=9.0))
    assert state.verdict == "better"
    assert state.decided_at < 2_000
