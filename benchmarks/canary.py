"""How often is an equal challenger promoted, and how many labels does a verdict cost?  Counted over 500 runs each.

Two classifiers that disagree on 8% of the rows; a look after every label, 20,000 labels at most; α = 0.01, the first
challenger of an endpoint. The same for a regression: squared errors clipped at 9 variances. Intervals are Clopper–
Pearson's, 95%. And what one label costs to take in.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import beta

from trimtab.loop.canary import Canary, differences

RUNS, LABELS, DISAGREE = int(sys.argv[1]) if len(sys.argv) > 1 else 500, 20_000, 0.08


def exact(k: int, n: int) -> str:
    """k of n with its Clopper–Pearson interval."""
    low = 0.0 if k == 0 else float(beta.ppf(0.025, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(0.975, k + 1, n - k))
    return f"{k:>3} of {n} ({k / n:.1%}; [{low:.1%}, {high:.1%}])"


def classifiers(gain: float) -> Callable[[np.random.Generator], Any]:
    """Pairs of two classifiers, one being right `gain` more often."""
    shares = [(DISAGREE + gain) / 2, (DISAGREE - gain) / 2, 1 - DISAGREE]
    return lambda rng: rng.choice([1.0, -1.0, 0.0], size=LABELS, p=shares)


def regressions(ratio: float) -> Callable[[np.random.Generator], Any]:
    """Pairs of two regressions with errors that correlate by 0.8; the challenger's sd is `ratio` of the champion's."""
    def pairs(rng: np.random.Generator) -> Any:
        one, other = rng.normal(size=(2, LABELS))
        mine = ratio * (0.8 * one + 0.6 * other)
        return differences(one**2, mine**2, bound=9.0)
    return pairs


def count(name: str, pairs: Callable[[np.random.Generator], Any]) -> None:
    """Verdicts of all runs, and labels until them."""
    states = [Canary(challenger=1, bound=1.0).after(pairs(np.random.default_rng(seed))) for seed in range(RUNS)]
    line = f"  {name:<22}"
    for verdict in ("better", "worse"):
        at = [one.decided_at for one in states if one.verdict == verdict]
        line += f"  {verdict} {exact(len(at), RUNS)}"
        if len(at) > RUNS // 2:
            low, middle, high = np.quantile(at, [0.1, 0.5, 0.9])
            line += f" after {middle:,.0f} labels (80%: {low:,.0f}–{high:,.0f})"
    print(line)


def peeking(pairs: Callable[[np.random.Generator], Any]) -> None:
    """The habit that this replaces: a t-test at 5%, looked at every 100 labels until it says yes."""
    looks = np.arange(100, LABELS + 1, 100)
    said = 0
    for seed in range(RUNS):
        d = pairs(np.random.default_rng(seed))
        mean = np.cumsum(d)[looks - 1] / looks
        sd = np.sqrt(np.maximum(np.cumsum(d * d)[looks - 1] / looks - mean**2, 1e-12))
        said += bool((np.abs(mean) * np.sqrt(looks) / sd >= 1.96).any())
    print(f"  t-test at 5%, a look each 100: says a difference in {exact(said, RUNS)}")


def cost() -> None:
    """Microseconds a label, one at a time and in a batch."""
    pairs = classifiers(0.0)(np.random.default_rng(0))
    state, start = Canary(challenger=1, bound=1.0), time.process_time()
    for place in range(500):
        state = state.after(pairs[place:place + 1])
    alone = (time.process_time() - start) / 500
    start = time.process_time()
    Canary(challenger=1, bound=1.0).after(pairs)
    print(f"  one label {alone * 1e6:.0f} µs alone, {(time.process_time() - start) / LABELS * 1e6:.2f} µs in a batch")


if __name__ == "__main__":
    print(f"{RUNS} runs of {LABELS:,} labels, a look after each; e ≥ {Canary(challenger=1, bound=1.0).threshold:.0f}")
    print(f"Classifiers that disagree on {DISAGREE:.0%} of the rows")
    for gain in (0.0, 0.01, 0.02, 0.05, -0.02, -0.05):
        count(f"challenger {gain * 100:+.0f} pp", classifiers(gain))
    peeking(classifiers(0.0))
    print("Regressions, errors correlated by 0.8")
    for ratio in (1.0, 0.9, 1.1):
        count(f"challenger's rmse × {ratio}", regressions(ratio))
    print("Cost")
    cost()
