"""Which held-out rows did two versions both score, and what did each say?

Read from the predictions that are stored with an evaluation; nothing is predicted here unless `rescored` is asked for.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trimtab.canon import Digest
from trimtab.errors import CheckFailed, TrimtabError
from trimtab.registry.model import Version
from trimtab.registry.versions import Versions

if TYPE_CHECKING:
    import polars as pl

LEAST_ROWS = 10                                # below, a paired interval means nothing

Array = NDArray[np.float64]
Frames = Callable[[Digest], "pl.DataFrame"]    # a dataset version's rows by digest; raises NotFound or BlobMissing


class Predicts(Protocol):
    """What is needed of a loaded version (`bundle.Bundle`): raw columns in, `.values` and `.probabilities` out."""

    def predict_frame(self, frame: pl.DataFrame) -> Any: ...


Bundles = Callable[[Version], Predicts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Rows of a dataset and what a model said of them; all of length n.

    rows: positions in the dataset. y, predicted: numbers, or codes into `classes`. proba: shape (n, classes).
    """

    rows: NDArray[np.int64]
    y: Array
    predicted: Array
    proba: Array | None
    classes: tuple[Any, ...]
    dataset: Digest

    def take(self, at: NDArray[np.int64]) -> Scored:
        """Some of the rows, in the order given."""
        return replace(self, rows=self.rows[at], y=self.y[at], predicted=self.predicted[at],
                       proba=None if self.proba is None else self.proba[at])


def stored(versions: Versions, version: Version) -> Scored:
    """What the version's evaluation scored. Raises CheckFailed with the reason where nothing is stored."""
    import polars as pl

    evaluation = versions.evaluation(version)
    if evaluation is None:
        raise CheckFailed(f"{version.name} was registered without an evaluation")
    digest, dataset = evaluation.get("predictions"), evaluation.get("dataset")
    if not isinstance(digest, str) or not isinstance(dataset, str):
        raise CheckFailed(f"the evaluation of {version.name} keeps no predictions of single rows")
    frame = pl.read_parquet(io.BytesIO(versions.blob(version, "its predictions", Digest(digest))))
    classes = _classes(version)
    shares = [name for name in frame.columns if name.startswith("p_")]
    return Scored(
        rows=frame["row"].cast(pl.Int64).to_numpy(), classes=classes, dataset=Digest(dataset),
        y=_codes(frame["y"].to_list(), classes), predicted=_codes(frame["prediction"].to_list(), classes),
        proba=frame.select(shares).cast(pl.Float64).to_numpy() if classes and len(shares) == len(classes) else None)


def in_common(a: Scored, b: Scored) -> tuple[Scored, Scored]:
    """Both on the rows that both scored, in the order of `b`. Raises CheckFailed with the reason where they can't."""
    if a.dataset != b.dataset:
        raise CheckFailed(f"they were tested on different data ({a.dataset.short} and {b.dataset.short})")
    order_a, order_b = np.argsort(a.rows, kind="stable"), np.arange(len(b.rows))
    at = np.searchsorted(a.rows, b.rows, sorter=order_a)
    found = at < len(a.rows)
    found[found] = a.rows[order_a[at[found]]] == b.rows[found]
    if found.sum() < LEAST_ROWS:
        raise CheckFailed(f"their test sets share {int(found.sum())} rows, and at least {LEAST_ROWS} are needed "
                          "(the splits differ)")
    one, two = a.take(order_a[at[found]]), b.take(order_b[found])
    if one.classes == two.classes and not np.array_equal(one.y, two.y, equal_nan=True):
        raise CheckFailed("the stored truth of the same rows differs (another target?)")
    return one, two


def rescored(versions: Versions, a: Version, b: Scored, frames: Frames, bundles: Bundles) -> tuple[Scored, Scored, str]:
    """Ask version `a` about the rows that `b` was tested on, without those that occur in its own data.

    Returns (a, b, a sentence on what was left out). Raises CheckFailed where no row is left or the columns don't fit;
    BlobMissing, and what loading a version raises.
    """
    rows = frames(b.dataset)[b.rows.tolist()]
    needed = [str(feature["name"]) for feature in _features(a)]
    if missing := [name for name in needed if name not in rows.columns]:
        raise CheckFailed(f"{a.name} needs the column {missing[0]!r}, which the other version's data does not have")
    fresh, note = _unseen(versions, a, rows, frames)
    if fresh.sum() < LEAST_ROWS:
        raise CheckFailed(f"of these rows {int(fresh.sum())} are new to {a.name}, and at least {LEAST_ROWS} are "
                          "needed: on rows that it may have learned from it would look too good")
    kept = b.take(np.flatnonzero(fresh))
    told = bundles(a).predict_frame(rows.filter(fresh.tolist()))
    classes = _classes(a)
    proba = None if told.probabilities is None else np.asarray(told.probabilities, dtype=np.float64)
    values = list(told.values)
    truth = [kept.classes[int(code)] for code in kept.y] if kept.classes else list(kept.y)
    return Scored(rows=kept.rows, y=_codes(truth, classes), predicted=_codes(values, classes), proba=proba,
                  classes=classes, dataset=kept.dataset), kept, note


def _unseen(versions: Versions, a: Version, rows: pl.DataFrame, frames: Frames) -> tuple[NDArray[np.bool_], str]:
    """Which of the rows do not occur in the data that `a` was made from, over the columns that both have."""
    import polars as pl

    dataset = Digest(str(versions.ingredient(a, "data")["dataset"]))
    try:
        own = frames(dataset)
    except TrimtabError as problem:
        return np.ones(rows.height, dtype=bool), f"whether {a.name} learned from these rows can't be told: {problem}"
    both = [name for name, kind in rows.schema.items() if own.schema.get(name) == kind]
    if not both:
        return np.ones(rows.height, dtype=bool), f"whether {a.name} learned from these rows can't be told"
    known = rows.select(both).with_row_index("trimtab:row").join(own.select(both).unique(), on=both, how="semi",
                                                                 nulls_equal=True)
    fresh = np.ones(rows.height, dtype=bool)
    fresh[known["trimtab:row"].cast(pl.Int64).to_numpy()] = False
    left_out = rows.height - int(fresh.sum())
    said = f"; {left_out:,} rows that occur in its own data were left out" if left_out else ""
    return fresh, f"{a.name} was asked again, about {int(fresh.sum()):,} rows that the other was tested on{said}"


def _codes(values: Sequence[Any], classes: tuple[Any, ...]) -> Array:
    """Numbers as they are; labels as places in `classes`, NaN where there is no such class."""
    if not classes:
        return np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
    place = {str(label): code for code, label in enumerate(classes)}
    return np.array([place.get(str(value), np.nan) for value in values], dtype=np.float64)


def _classes(version: Version) -> tuple[Any, ...]:
    found = version.facts.get("classes")
    return tuple(found) if isinstance(found, list) and version.facts.get("task") != "regression" else ()


def _features(version: Version) -> list[Mapping[str, Any]]:
    found = version.facts.get("features")
    return [one for one in found if isinstance(one, dict) and "name" in one] if isinstance(found, list) else []
