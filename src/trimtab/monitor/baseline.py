"""What is normal for the version that serves?  Its own training data, its own answers, its own errors.

The baseline belongs to the version: a promotion brings another one, and nothing that the old one called drift goes on.
Read from what the registry stored; the version is not loaded and nothing is predicted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.canon import Digest
from trimtab.config import Monitor as Settings
from trimtab.data import contract_toml
from trimtab.data.contract import Contract
from trimtab.data.profile import profile as profiled
from trimtab.errors import CheckFailed, NotFound
from trimtab.monitor.bets import design_effect
from trimtab.monitor.harm import Risk
from trimtab.monitor.windows import PREDICTION, Sketch, longest_run, numbers
from trimtab.registry.ingredients import config_of
from trimtab.registry.scored import LEAST_ROWS, Scored, stored
from trimtab.sketch.column import CategorySketch, NumericSketch

if TYPE_CHECKING:
    import polars as pl

    from trimtab.data.versions import Datasets
    from trimtab.registry.model import Version
    from trimtab.registry.versions import Versions

_NEWEST = 200_000                              # rows that the design effects are computed from
_BLOCKS = 20
_LEAST_LATELY = 200                            # rows that say what is normal since a change


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What a version's windows are compared with.

    columns: a sketch a feature, and `PREDICTION` of its answers on held-out rows. effects: design effects by column (1
    where rows are independent, or their order in time is not known). runs: the longest stretch of one number. risk: of
    the held-out losses, or None where they can't be had. score: the metric's {value, low, high} when it was judged.
    """

    contract: Contract
    columns: Mapping[str, Sketch]
    task: str = "regression"
    classes: tuple[Any, ...] = ()
    threshold: float | None = None
    metric: str = "mse"
    score: Mapping[str, float] | None = None
    effects: Mapping[str, float] = field(default_factory=dict)
    runs: Mapping[str, int] = field(default_factory=dict)
    risk: Risk | None = None
    notes: tuple[str, ...] = ()                # what can't be watched, and why

    @property
    def categorical_answers(self) -> bool:
        """Are the answers counted as labels (more than two classes, or no probabilities)?"""
        return isinstance(self.columns.get(PREDICTION), CategorySketch)


def baseline_of(versions: Versions, datasets: Datasets, version: Version) -> Baseline:
    """The baseline of a version. Raises NotFound, BlobMissing, DigestMismatch where its data's profile is not there."""
    stated = contract_toml.parse(versions.read(version, "contract.toml").decode())
    contract = stated.watched
    named = versions.ingredient(version, "data").get("dataset")
    if named is None:
        raise NotFound(f"{version.name} was registered without its data, so what is normal for it is not known: it is "
                       "not watched", version=version.name)
    dataset = Digest(str(named))
    frame = datasets.load(dataset)
    lately = frame.tail(_lately(version))
    profile = profiled(lately, contract) if lately.height else datasets.profile(dataset)
    columns: dict[str, Sketch] = {column.name: profile[column.name] for column in contract.features
                                  if column.name in profile}
    task = str(version.facts.get("task", "regression"))
    evaluation: Any = versions.evaluation(version) or {}
    notes = [f"{column.name} is not watched: redacted (log = \"{column.log}\")" for column in stated.features
             if column.name in stated.redacted]
    risk: Risk | None = None
    try:
        scored = stored(versions, version)
    except CheckFailed as problem:
        notes.append(f"neither answers nor errors are compared with the evaluation: {problem}")
    else:
        newest = np.flatnonzero(scored.rows >= frame.height - lately.height)
        scored = scored.take(newest) if len(newest) >= LEAST_ROWS else scored
        if len(scored.rows) < LEAST_ROWS:
            notes.append(f"{len(scored.rows)} held-out rows are too few to compare answers and errors with")
        else:
            columns[PREDICTION] = _answers(scored, task)
            risk = Risk.of(_losses(scored, task))
    timed = next((column.name for column in contract.columns if column.role == "time"), None)
    frame = frame if timed is None else frame.sort(timed)
    effects = {} if timed is None else design_effects(frame, contract, columns)
    classes: Any = version.facts.get("classes") or ()
    threshold: Any = version.facts.get("threshold")
    metric = str(evaluation.get("metric") or ("mse" if task == "regression" else "log_loss"))
    return Baseline(contract=contract, columns=columns, task=task, classes=tuple(classes),
                    threshold=None if threshold is None else float(threshold), metric=metric, risk=risk,
                    score=evaluation.get("test", {}).get("metrics", {}).get(metric), effects=effects,
                    notes=tuple(notes), runs=longest_runs(frame, contract, columns))


def _lately(version: Version) -> int:
    """How many of its last training rows are what is normal since the change that it was retrained for; 0: all are.

    A baseline of the rows before and after the change would call what comes now a drift, and order the next retrain.
    """
    retrained = version.facts.get("retrained")
    found = retrained.get("lately") if isinstance(retrained, dict) else None
    return found if isinstance(found, int) and found >= _LEAST_LATELY else 0


def settings_of(versions: Versions, version: Version) -> Settings:
    """`[monitor]` as it stood in the configuration that the version was made from; the defaults where it has none."""
    made_with = config_of(versions, version)
    return Settings() if made_with is None else made_with.monitor


def longest_runs(frame: pl.DataFrame, contract: Contract, columns: Mapping[str, Sketch]) -> dict[str, int]:
    """For each numeric feature the longest stretch of consecutive rows with one and the same number."""
    return {column.name: longest_run(numbers(column, frame[column.name])) for column in contract.features
            if isinstance(columns.get(column.name), NumericSketch) and column.name in frame.columns}


def design_effects(frame: pl.DataFrame, contract: Contract, columns: Mapping[str, Sketch]) -> dict[str, float]:
    """For each numeric feature how dependent the rows, which stand in the order of time, are (`bets.design_effect`).

    Blocks are a twentieth of the (newest 200,000) rows, so that what swings within one, as hours of a day do, counts as
    noise. Fewer than 200 rows: none.
    """
    rows = frame.tail(_NEWEST)
    n = rows.height // _BLOCKS
    if n < 10:
        return {}
    found = {}
    for column in contract.features:
        if not isinstance(columns.get(column.name), NumericSketch) or column.name not in rows.columns:
            continue
        values = numbers(column, rows[column.name])
        known = np.sort(values[np.isfinite(values)])
        if not len(known):
            continue
        rank = (np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")) / (2 * len(known))
        rank[~np.isfinite(values)] = 0.5
        blocks = rank[: n * _BLOCKS].reshape(_BLOCKS, n)
        found[column.name] = max(design_effect(blocks), design_effect(np.abs(2 * blocks - 1)))
    return found


def _answers(scored: Scored, task: str) -> Sketch:
    if task == "regression":
        return NumericSketch.of(scored.predicted)
    if len(scored.classes) == 2 and scored.proba is not None:
        return NumericSketch.of(scored.proba[:, -1])
    from trimtab.monitor.asked import word

    names = [word(label) for label in scored.classes]
    told = [names[int(code)] if np.isfinite(code) else None for code in scored.predicted]
    return CategorySketch.of(told, names)


def _losses(scored: Scored, task: str) -> Any:
    from trimtab.stats.losses import row_losses

    if task == "regression":
        return row_losses("regression", scored.y, scored.predicted)
    known = np.isfinite(scored.y)
    if scored.proba is None:
        return (scored.y != scored.predicted)[known].astype(np.float64)
    return row_losses(task, scored.y[known].astype(np.int64), scored.proba[known])  # type: ignore[arg-type]
