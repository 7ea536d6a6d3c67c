"""Which candidate is taken, and how sure is that?

The lowest mean over the folds. A candidate whose paired difference to it is within one standard error is a tie, and is
called one; nothing simpler is taken silently.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trimtab.errors import CheckFailed
from trimtab.pipeline.model import CandidateResult

BASELINE = "dummy"


def choose(results: Sequence[CandidateResult], metric: str, *, baseline_competes: bool = False) -> tuple[str, str]:
    """(name, reason). Raises CheckFailed when no candidate was trained; the message has every sentence.

    baseline_competes: the trivial baseline was asked for among the candidates.
    """
    trained = [r for r in results if r.mean is not None and (baseline_competes or r.name != BASELINE)]
    if not trained:
        why = "; ".join(f"{r.name}: {r.error}" for r in results if r.error) or "none was named"
        raise CheckFailed(f"no candidate could be trained. {why}")
    best = min(trained, key=lambda r: r.mean if r.mean is not None else np.inf)
    shown = "MSE" if metric == "mse" else metric.replace("_", " ")
    ties = [r.name for r in trained if r is not best and tied(best, r)]
    reason = f"lowest CV {shown}" if len(trained) > 1 else "the only candidate that was trained"
    if ties:
        names = f"{', '.join(ties[:-1])} and {ties[-1]}" if len(ties) > 1 else ties[0]
        reason += f"; tied with {names} within one standard error of the paired fold differences"
    baseline = next((r for r in results if r.name == BASELINE), None)
    if baseline is not None and baseline is not best and baseline.mean is not None and best.mean is not None:
        if baseline.mean <= best.mean:
            reason += f"; no better than the baseline, whose CV {shown} is {baseline.mean:.4g}"
        elif tied(best, baseline):
            reason += "; tied with the baseline as well"
    return best.name, reason


def tied(best: CandidateResult, other: CandidateResult) -> bool:
    """Is the mean of the paired fold differences within one standard error of 0?

    >>> a = CandidateResult(name="a", family="linear", folds=(1.0, 2.0, 3.0), mean=2.0)
    >>> tied(a, CandidateResult(name="b", family="linear", folds=(1.5, 1.8, 3.2), mean=2.2))
    True
    >>> tied(a, CandidateResult(name="c", family="linear", folds=(2.0, 3.1, 4.0), mean=3.0))
    False
    """
    if len(best.folds) != len(other.folds) or len(best.folds) < 2:
        return False
    differences = np.subtract(other.folds, best.folds)
    return bool(differences.mean() <= differences.std(ddof=1) / np.sqrt(len(differences)))
