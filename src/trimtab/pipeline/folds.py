"""Which training rows are held out together in cross-validation?

By row (shuffled with the split's seed, stratified for classes), by group (a group is never on both sides) or by time
(the past predicts the next stretch, nothing is shuffled, equal times stay together).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trimtab.errors import CheckFailed
from trimtab.pipeline.model import Array, Index, Learnable, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Positions in the Learnable: rows to fit on, rows to score."""

    fit: Index
    score: Index


def folds(learnable: Learnable, split: Split, k: int) -> tuple[tuple[Fold, ...], tuple[str, ...]]:
    """k folds of the training rows, and sentences about what had to give way. Raises CheckFailed on too few rows."""
    rows, notes = split.train, list[str]()
    if len(rows) < 4:
        raise CheckFailed(f"{len(rows)} training rows can't be cross-validated; at least 4 are needed")
    if len(rows) < 2 * k:
        notes.append(f"{len(rows)} training rows: {len(rows) // 2} folds instead of {k}")
        k = len(rows) // 2
    if split.kind == "time" and learnable.times is not None:
        parts = _by_time(learnable.times[rows], k, notes)
    elif split.kind == "group" and learnable.groups is not None:
        parts = _by_group(learnable.groups[rows], k, notes)
    else:
        parts = _by_row(learnable, rows, k, split.seed, notes)
    return tuple(Fold(fit=rows[fit], score=rows[score]) for fit, score in parts), tuple(notes)


def thin(made: tuple[Fold, ...], most: int, rng: np.random.Generator, last: int) -> tuple[Fold, ...]:
    """The same folds on at most `most` rows each (drawn by `rng`, order kept), and only the `last` of them."""
    return tuple(Fold(fit=_draw(fold.fit, most - most // (len(made) + 1), rng),
                      score=_draw(fold.score, most, rng)) for fold in made[-last:])


def _draw(rows: Index, most: int, rng: np.random.Generator) -> Index:
    if len(rows) <= most:
        return rows
    return rows[np.sort(rng.choice(len(rows), size=most, replace=False))]


_Part = tuple[Index, Index]


def _by_row(learnable: Learnable, rows: Index, k: int, seed: int, notes: list[str]) -> list[_Part]:
    from sklearn.model_selection import KFold, StratifiedKFold

    y = learnable.y[rows]
    if learnable.task == "regression":
        return list(_positions(KFold(k, shuffle=True, random_state=seed).split(rows)))
    counts = np.bincount(y.astype(np.int64), minlength=len(learnable.classes))
    rare = [str(learnable.classes[c]) for c in np.flatnonzero((counts > 0) & (counts < k))]
    if counts.max() < k:
        notes.append(f"every class has fewer than {k} training rows: folds are not stratified")
        return list(_positions(KFold(k, shuffle=True, random_state=seed).split(rows)))
    if rare:
        notes.append(f"fewer than {k} training rows of class {', '.join(rare)}: some folds lack it")
    with warnings.catch_warnings():            # said in the note above
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        return list(_positions(StratifiedKFold(k, shuffle=True, random_state=seed).split(rows, y)))


def _by_group(groups: Index, k: int, notes: list[str]) -> list[_Part]:
    from sklearn.model_selection import GroupKFold

    count = len(np.unique(groups))
    if count < 2:
        raise CheckFailed("all training rows are of one group, so that no fold can hold a group out; split by row or "
                          "time instead")
    if count < k:
        notes.append(f"{count} groups: {count} folds instead of {k}")
        k = count
    return list(_positions(GroupKFold(k).split(groups, groups=groups)))


def _by_time(times: Array, k: int, notes: list[str]) -> list[_Part]:
    """Expanding window: rows in order of time are cut into k + 1 stretches; each is predicted from all before it."""
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] > ordered[:-1]]))    # first row of each moment
    if len(starts) < 2:
        raise CheckFailed("all training rows have the same time, so that none comes before another; split by row")
    wanted = (np.arange(1, k + 1) * len(order)) // (k + 1)
    cuts = np.unique(starts[np.minimum(np.searchsorted(starts, wanted), len(starts) - 1)])
    cuts = cuts[cuts > 0]
    if len(cuts) < k:
        notes.append(f"few distinct times: {len(cuts)} folds instead of {k}")
    ends = [*cuts[1:], len(order)]
    return [(np.sort(order[:cut]), np.sort(order[cut:end])) for cut, end in zip(cuts, ends, strict=True)]


def _positions(parts: Iterator[tuple[Index, Index]]) -> Iterator[_Part]:
    for fit, score in parts:
        yield fit.astype(np.int64), score.astype(np.int64)
