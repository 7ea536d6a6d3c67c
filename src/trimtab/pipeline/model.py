"""What does the pipeline hand from step to step?  Frozen values, no store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trimtab.canon import Digest

Task = Literal["regression", "binary", "multiclass"]
Array = NDArray[np.float64]
Index = NDArray[np.int64]
Label = str | int | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One column of the encoded matrix."""

    name: str
    kind: Literal["number", "boolean", "category", "datetime"]
    categories: tuple[str, ...] = ()
    missing: bool = False                     # may it be NaN?


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnable:
    """What estimators see of a dataset version.

    X: shape (rows, features), float64, encoded by `data.encode`. y: shape (rows,), float64 for regression, class codes
    else.
    groups: shape (rows,) codes or None; times: shape (rows,) sortable or None.
    """

    X: Array
    y: NDArray[np.float64] | NDArray[np.int64]
    task: Task
    features: tuple[Feature, ...]
    classes: tuple[Label, ...] = ()
    groups: Index | None = None
    times: Array | None = None
    dataset: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Which rows train and which are held out. `kind`: by row, group or time."""

    train: Index
    test: Index
    kind: Literal["row", "group", "time"]
    seed: int
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateResult:
    """One candidate after cross-validation and the fit on all training rows, or the sentence that says why not."""

    name: str                                 # as in trimtab.toml
    family: Literal["baseline", "linear", "kernel", "trees", "custom"]
    params: dict[str, object] = field(default_factory=dict)
    folds: tuple[float, ...] = ()             # the selection metric, one number a fold
    mean: float | None = None
    se: float | None = None                   # standard error over folds
    model: Digest | None = None               # blob: model.skops
    types: tuple[str, ...] = ()
    formula: str = ""                         # kernel and linear models: ŷ(x) = … with its numbers
    preprocessing: tuple[str, ...] = ()       # what happens to its columns, a line per group
    notes: tuple[str, ...] = ()               # forecast, fallback, warnings; sentences for people
    error: str = ""                           # why it has no model
    fit_s: float = 0.0                        # wall seconds; never part of a digest


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReport:
    """What `trimtab train` found."""

    run: str
    model: str
    task: Task
    metric: str                               # the selection metric: "mse" or "log_loss"
    candidates: tuple[CandidateResult, ...]   # the baseline ("dummy") last
    chosen: str
    reason: str                               # "lowest CV MSE", "tied with … within one standard error; simpler taken"
    dataset: Digest
    split: Digest
    classes: tuple[Label, ...]
    features: tuple[Feature, ...]
    preprocessing: tuple[str, ...]            # one printed line per group of columns
    cached: tuple[str, ...] = ()              # steps that came from the cache
