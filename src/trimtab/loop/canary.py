"""Is the challenger better than the champion, worse, or can't it be told yet?  A bet on pairs, valid at every look.

Both answer the same row; when its label comes, the pair is d = (loss of the champion − loss of the challenger) / bound,
losses clipped to [0, bound], so d ∈ [−1, 1] and positive means that the challenger was better. Two bets:

    better   K⁺_t = Π (1 + λ⁺_i·d_i)        worse   K⁻_t = Π (1 − λ⁻_i·d_i)        λ_i from earlier pairs, in [0, ½]

While the challenger is not better (E d ≤ 0 given the past), K⁺ is a supermartingale and reaches 2/α_j with probability
at most α_j/2, however often it is looked at (Ville 1939); mirrored for harm. The j-th challenger of an endpoint spends
α_j = α·6/(π²j²), which adds up to α over all of them: α bounds a wrong verdict over the endpoint's life.

The bets are a fixed mixture: K is the mean of six wealths that stake ½, ¼ … 1/64 throughout, which is the same as one
predictable λ_i, the mean of the six stakes weighted by what each has won. So six logarithms a side are all that is
kept. Betting: Waudby-Smith & Ramdas 2023 (arXiv 2010.09686); why this mixture: docs/design/005-the-canary.md. A
corrected label does not undo a bet: a pair is bet on once, in the order in which labels came.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trimtab.errors import Malformed, UsageError

Array = NDArray[np.float64]
Verdict = Literal["better", "worse", "open"]
SCHEMA: Final = "trimtab.canary/1"
ALPHA: Final = 0.01
STAKES: Final = (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64)
WORTH: Final = 0.02                            # the difference that "about N more labels" is about while none shows
_STAKES: Final = np.array(STAKES)
_EVEN: Final = math.log(len(STAKES))
_CHUNK: Final = 8192                           # pairs taken in at once: memory stays flat


def spent(alpha: float, challenger: int) -> float:
    """What the `challenger`-th challenger (1, 2, …) of an endpoint may spend of `alpha`: α·6/(π²j²).

    >>> round(spent(0.01, 1), 5), round(sum(spent(0.01, j) for j in range(1, 10_000)), 4)
    (0.00608, 0.01)
    """
    if not 0 < alpha < 1 or challenger < 1:
        raise UsageError(f"alpha is a probability in (0, 1) and challengers count from 1; got {alpha}, {challenger}")
    return alpha * 6 / (math.pi * challenger) ** 2


def differences(champion: ArrayLike, challenger: ArrayLike, *, bound: float) -> Array:
    """The pairs d ∈ [−1, 1] of two models' losses on the same rows, each of shape (rows,); positive: challenger better.

    bound: losses are clipped to [0, bound], > 0. A row where the champion's loss is NaN has no usable label: d is NaN,
    and `Canary.after` leaves it out. A challenger that gave no usable answer there lost the whole bound.

    >>> differences([4.0, 6.0, 1.0], [2.0, 100.0, 1.0], bound=8).tolist()
    [0.25, -0.25, 0.0]
    """
    if not (bound > 0 and math.isfinite(bound)):
        raise UsageError(f"the bound of a loss is a positive number, not {bound}; set loss_clip")
    a, b = np.asarray(champion, dtype=np.float64), np.asarray(challenger, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise UsageError(f"losses come in pairs: got shapes {a.shape} and {b.shape}")
    b = np.where(np.isnan(b), bound, b)
    found: Array = np.clip(a, 0.0, bound) / bound - np.clip(b, 0.0, bound) / bound
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """The state of both bets: enough to go on from, and to recompute the verdict.

    challenger: its number j at this endpoint. n, total, squares: pairs, their sum and sum of squares. better, worse:
    log wealth of each stake. highest_better, highest_worse: of log K. decided_at: pairs at the first crossing, 0 while
    there is none; whichever crossed first stays the verdict. cursor: the newest label that was taken in.
    """

    challenger: int
    bound: float
    alpha: float = ALPHA
    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    better: tuple[float, ...] = (0.0,) * len(STAKES)
    worse: tuple[float, ...] = (0.0,) * len(STAKES)
    highest_better: float = 0.0
    highest_worse: float = 0.0
    verdict: Verdict = "open"
    decided_at: int = 0
    cursor: str = ""

    @property
    def threshold(self) -> float:
        """2/α_j, derived and never set: what K must reach.

        >>> round(Canary(challenger=1, bound=1.0).threshold)
        329
        """
        return 2 / spent(self.alpha, self.challenger)

    def after(self, pairs: ArrayLike, *, cursor: str = "") -> Canary:
        """The state after more pairs, shape (n,), in the order in which their labels came; NaN is left out.

        How the pairs are cut into calls changes nothing but rounding. Raises UsageError on a pair outside [−1, 1].
        """
        d = np.asarray(pairs, dtype=np.float64)
        d = d[~np.isnan(d)]
        if len(d) and not float(np.abs(d).max()) <= 1.0:
            raise UsageError("a pair lies outside [-1, 1]; make pairs with canary.differences")
        state = self
        for start in range(0, len(d), _CHUNK):
            state = state._taken(d[start:start + _CHUNK])
        return replace(state, cursor=cursor or self.cursor)

    def _taken(self, d: Array) -> Canary:
        steps = d[:, None] * _STAKES
        better = np.array(self.better) + np.cumsum(np.log1p(steps), axis=0)
        worse = np.array(self.worse) + np.cumsum(np.log1p(-steps), axis=0)
        up, down = _log_mean(better), _log_mean(worse)
        verdict, decided_at = self.verdict, self.decided_at
        if verdict == "open":
            level = math.log(self.threshold)
            crossed = [(int(np.argmax(path >= level)), name) for path, name in ((up, "better"), (down, "worse"))
                       if (path >= level).any()]
            if crossed:
                place, name = min(crossed)
                verdict, decided_at = ("better" if name == "better" else "worse"), self.n + place + 1
        return replace(
            self, n=self.n + len(d), total=self.total + float(d.sum()), squares=self.squares + float((d * d).sum()),
            better=tuple(better[-1].tolist()), worse=tuple(worse[-1].tolist()), verdict=verdict, decided_at=decided_at,
            highest_better=max(self.highest_better, float(up.max())),
            highest_worse=max(self.highest_worse, float(down.max())))

    @property
    def gain(self) -> float | None:
        """Mean pair so far, as a share of the bound; positive: the challenger was better. None before the first."""
        return self.total / self.n if self.n else None

    @property
    def needed(self) -> int:
        """About how many more labels until a verdict; 0 where there is one.

        Looks ahead along the mean that was seen, or along a difference of 2% of the bound where less was seen.
        """
        if self.verdict != "open":
            return 0
        mean = self.total / self.n if self.n else 0.0
        ahead = max(abs(mean), WORTH)
        second = max(self.squares / self.n if self.n > 20 else 0.1, ahead)
        stake = min(ahead / second, 0.5)
        growth = stake * ahead - stake * stake * second / 2                      # E log(1 + λd), to second order
        won = float(max(0.0, _log_mean(np.array([self.better if mean >= 0 else self.worse]))[0]))
        return max(1, math.ceil((math.log(self.threshold) + _EVEN / 2 - won) / growth))

    @property
    def words(self) -> str:
        """The verdict in a sentence.

        >>> Canary(challenger=1, bound=1.0).words
        'cannot tell yet, about 3,300 more labels needed'
        """
        if self.verdict == "open":
            return f"cannot tell yet, about {_round(self.needed):,} more labels needed"
        assert self.gain is not None
        side = "less" if self.gain >= 0 else "more"
        return (f"the challenger is {self.verdict}: told after {self.decided_at:,} labels; over {self.n:,} it loses "
                f"{abs(self.gain) * self.bound:.4g} {side} a row (e ≥ {self.threshold:.0f}: wrong in at most "
                f"{self.alpha:.2g} over the endpoint's life, looked at as often as you like)")

    def to_json(self) -> dict[str, object]:
        """What `from_json` reads."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {"schema": SCHEMA, **fields, "better": list(self.better), "worse": list(self.worse)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Canary:
        """The inverse of `to_json`. Raises Malformed."""
        if stored.get("schema") != SCHEMA:
            raise Malformed(f"a stored canary is not of the form {SCHEMA}; it was written by another trimtab")
        fields = {name: value for name, value in stored.items() if name != "schema"}
        return cls(**{**fields, "better": tuple(fields["better"]), "worse": tuple(fields["worse"])})


def _log_mean(wealth: Array) -> Array:
    """log of the mean of exp over the last axis: (n, stakes) → (n,)."""
    top = wealth.max(axis=1)
    found: Array = top + np.log(np.exp(wealth - top[:, None]).mean(axis=1))
    return found


def _round(n: int) -> int:
    """Two digits are all that an estimate has."""
    return int(float(f"{n:.2g}"))
