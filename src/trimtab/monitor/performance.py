"""How good were the answers, as far as labels tell?  Scores with intervals, and the share of rows that they rest on.

Labels come late and not for every row. Where the labelled rows are plainly other rows than the unlabelled ones (the
share differs between low, middle and high answers), the verdict is held back: the score would be of another population.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trimtab.monitor.asked import Asked, guesses, truth
from trimtab.stats.interval import Interval

Array = NDArray[np.float64]
LEAST: Final = 20                              # labelled rows below which no score is told
_GAP, _SIGMAS = 0.2, 4.0                       # when labelled shares of two thirds differ too much to judge by


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """What labels say of a stretch of rows. held: why there is no verdict, "" where there is one; needed: about how
    many more labels a score needs."""

    rows: int
    labelled: int
    metric: str
    scores: dict[str, Interval] = field(default_factory=dict)
    held: str = ""
    needed: int = 0

    @property
    def share(self) -> float:
        """Share of the rows whose truth is known."""
        return self.labelled / self.rows if self.rows else 0.0

    @property
    def score(self) -> Interval | None:
        """The metric with its interval."""
        return self.scores.get(self.metric)

    @property
    def words(self) -> str:
        """`mse 10.2 [8.9, 11.9] on 620 of 1,000 rows (62% labelled)`, or why not."""
        share = f"{self.labelled:,} of {self.rows:,} rows ({self.share:.0%} labelled)"
        if self.held:
            return f"{self.held}; {share}"
        found = self.score
        assert found is not None
        return f"{self.metric} {found.value:.4g} [{found.low:.4g}, {found.high:.4g}] on {share}"

    def to_json(self) -> dict[str, object]:
        """Every field, and the share."""
        return {"rows": self.rows, "labelled": self.labelled, "share": self.share, "metric": self.metric,
                "scores": {name: one.to_json() for name, one in self.scores.items()}, "held": self.held,
                "needed": self.needed}


def performance(asked: Asked, *, task: str, classes: Sequence[object], metric: str, rng: np.random.Generator,
                threshold: float | None = None, resamples: int = 500) -> Performance:
    """Score the labelled rows of `asked`.

    metric: the one that decides. rng: draws the bootstrap's rows. Below 20 usable labels: "cannot tell yet".
    """
    from trimtab.stats.bootstrap import score_intervals

    known, y = truth(asked, task, classes)
    answers = guesses(asked, task, classes)
    usable = known & (np.isfinite(answers) if answers.ndim == 1 else np.isfinite(answers).all(axis=1))
    n = int(usable.sum())
    own = asked.rows - int(asked.fallen.sum())
    plain: dict[str, Any] = {"rows": own, "labelled": int(known.sum()), "metric": metric}
    if n < LEAST:
        return Performance(**plain, needed=LEAST - n,
                           held=f"cannot tell yet, about {LEAST - n} more labels needed")
    if reason := _selected(answers if answers.ndim == 1 else answers[:, -1], known):
        return Performance(**plain, held=reason)
    codes: Any = y[usable] if task == "regression" else y[usable].astype(np.int64)
    scores = score_intervals(task, codes, answers[usable], rng=rng, resamples=resamples,  # type: ignore[arg-type]
                             threshold=threshold)
    if metric not in scores or not np.isfinite(scores[metric].value):
        return Performance(**plain, scores=scores, held=f"{metric} can't be computed on these labels")
    return Performance(**plain, scores=scores)


def losses(asked: Asked, task: str, classes: Sequence[object]) -> Array:
    """The loss of every row, shape (rows,): squared error or log loss; NaN where there is no usable label."""
    from trimtab.stats.losses import row_losses

    known, y = truth(asked, task, classes)
    answers = guesses(asked, task, classes)
    usable = known & (np.isfinite(answers) if answers.ndim == 1 else np.isfinite(answers).all(axis=1))
    out = np.full(asked.rows, np.nan)
    if usable.any():
        codes: Any = y[usable] if task == "regression" else y[usable].astype(np.int64)
        out[usable] = row_losses(task, codes, answers[usable])  # type: ignore[arg-type]
    return out


def _selected(answers: Array, known: NDArray[np.bool_]) -> str:
    """Why the labelled rows can't stand for all, or ""."""
    finite = np.isfinite(answers)
    if finite.sum() < 3 * LEAST or known.all():
        return ""
    cuts = np.quantile(answers[finite], [1 / 3, 2 / 3])
    third = np.searchsorted(cuts, answers[finite], side="left")
    shares = []
    for place in range(3):
        inside = known[finite][third == place]
        if len(inside) >= LEAST:
            shares.append((float(inside.mean()), len(inside), place))
    if len(shares) < 2:
        return ""
    low, high = min(shares), max(shares)
    pooled = (low[0] * low[1] + high[0] * high[1]) / (low[1] + high[1])
    se = np.sqrt(max(pooled * (1 - pooled), 1e-9) * (1 / low[1] + 1 / high[1]))
    if high[0] - low[0] < _GAP or (high[0] - low[0]) < _SIGMAS * se:
        return ""
    where = ("low", "middle", "high")
    return (f"verdict held: {low[0]:.0%} of the {where[low[2]]} answers are labelled and {high[0]:.0%} of the "
            f"{where[high[2]]} ones, so a score would be of other rows than were asked about")
