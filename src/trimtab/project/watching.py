"""How does a batch compare with what the live version was trained on?  Gives `monitor.batch` what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from trimtab.canon import Digest
from trimtab.data.check import check_table
from trimtab.data.encode import encode_target
from trimtab.data.readers import read_table
from trimtab.errors import NotFound, UsageError
from trimtab.monitor import batch as batches
from trimtab.monitor.batch import BatchReport
from trimtab.registry.bundle import Bundle, load_bundle
from trimtab.serving.rollout import PRODUCTION
from trimtab.stats.bootstrap import score_intervals
from trimtab.stats.interval import Interval
from trimtab.workspace import Workspace

if TYPE_CHECKING:
    from trimtab.project.folder import Folder
    from trimtab.registry.model import Version

_SEED = 42


def batch(workspace: Workspace, model: str, X: Any, y: Any = None) -> BatchReport:
    """See `Project.monitor`. X: a frame or a matrix with the contract's features in order; y: their true values."""
    live = workspace.rollouts.current(model)
    if live is None:
        raise NotFound(f"nothing of {model} is live; deploy a version first")
    version = workspace.versions.get(model, live.version)
    bundle = load_bundle(workspace.versions, version)
    frame = as_frame(X, [column.name for column in bundle.contract.features])
    report = check_table(bundle.contract, frame, roles=("feature",))
    broken, first = batches.summary(report)
    kept = frame.filter(~pl.Series(report.bad_rows))
    scores = {} if y is None else _scores(bundle, kept, _kept(y, report.bad_rows))
    evaluation: Any = workspace.versions.evaluation(version) or {}
    metric = str(evaluation.get("metric", "mse" if bundle.task == "regression" else "log_loss"))
    return BatchReport(
        version=version.name, rows=frame.height, broken=broken, first_broken=first, metric=metric, scores=scores,
        moved=batches.movements(bundle.contract, baseline(workspace, version), frame),
        reference=evaluation.get("test", {}).get("metrics", {}).get(metric))


def live_model(project: Folder) -> str:
    """The project's model if it is live, else the one live model that predicts the same column. Raises NotFound."""
    space, target = project.workspace, project.contract.target.name
    live = {one.model: one.version for one in space.rollouts.all_live() if one.endpoint == PRODUCTION}
    if project.name in live:
        return project.name
    same = [model for model, number in live.items() if space.versions.get(model, number).facts["target"] == target]
    if len(same) == 1:
        return same[0]
    several = f"; {', '.join(same)} predict {target}: set [model] name to one of them" if same else ""
    raise NotFound(f"nothing of {project.name} is live; deploy a version first{several}")


def baseline(workspace: Workspace, version: Version) -> dict[str, batches.Sketch]:
    """The profile of the data that a version was trained on, a sketch a column."""
    data = workspace.versions.ingredient(version, "data")
    return workspace.datasets.profile(Digest(str(data["dataset"])))


def as_frame(X: Any, names: list[str]) -> pl.DataFrame:
    """Rows as a Polars frame: a frame as it is, a matrix with the given column names. Raises UsageError."""
    if isinstance(X, pl.DataFrame) or hasattr(X, "iloc"):
        return read_table(X).frame
    matrix = np.asarray(X)
    if matrix.ndim != 2 or matrix.shape[1] != len(names):
        raise UsageError(f"the rows have shape {matrix.shape}, expected (rows, {len(names)}): {', '.join(names[:8])}")
    return read_table(pl.DataFrame(matrix, schema=names)).frame


def _kept(y: Any, bad: np.ndarray[Any, np.dtype[np.bool_]]) -> pl.Series:
    values = np.asarray(y)
    if values.shape != (len(bad),):
        raise UsageError(f"y has shape {values.shape}, expected ({len(bad)},): one true value a row")
    return pl.Series(values[~bad])


def _scores(bundle: Bundle, frame: pl.DataFrame, y: pl.Series) -> dict[str, Interval]:
    if not frame.height:
        return {}
    target = bundle.contract.target.name
    truth, classes = encode_target(bundle.contract, y.alias(target).to_frame(), bundle.task)
    answered = bundle.predict_frame(frame)
    if bundle.task == "regression":
        guess: Any = np.asarray(answered.values, dtype=np.float64)
    else:
        unknown = [label for label in classes if label not in bundle.classes]
        if unknown:
            raise UsageError(f"y holds {unknown[0]!r}, which {bundle.name} does not know; it knows "
                             f"{', '.join(map(repr, bundle.classes))}")
        truth = np.array([bundle.classes.index(classes[code]) for code in truth], dtype=np.int64)
        guess = answered.probabilities
    if guess is None:
        raise UsageError(f"{bundle.name} gives no probabilities, so it can't be scored by them")
    return score_intervals(bundle.task, truth, guess, rng=np.random.default_rng(_SEED), resamples=500,  # type: ignore[arg-type]
                           threshold=bundle.threshold)
