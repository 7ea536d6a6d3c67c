"""What is the difference between two versions?

Metrics with paired intervals on the rows that both evaluations scored, and where those can't be paired, the precise
reason; everything that is written differently (`changes.py`); the rows where the two disagree and the smallest
readable slice that holds most of them (`disagree.py`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trimtab.canon import Digest
from trimtab.config import parse
from trimtab.errors import CheckFailed, TrimtabError
from trimtab.registry import scored
from trimtab.registry.changes import FileChange, changed, changed_files, changed_toml
from trimtab.registry.difference import Difference, Example, MetricChange
from trimtab.registry.disagree import Search, disagreements, find_slice
from trimtab.registry.model import Version
from trimtab.registry.scored import Array, Bundles, Frames, Scored
from trimtab.registry.versions import Versions
from trimtab.stats.bootstrap import score_differences
from trimtab.stats.interval import Interval
from trimtab.stats.losses import row_losses
from trimtab.stats.paired import Paired, paired_difference
from trimtab.stats.resample import block_length
from trimtab.stats.scores import classification_scores, regression_scores

if TYPE_CHECKING:
    import polars as pl

MOST_EXAMPLES = 20
MOST_VALUES = 12                               # columns shown with an example row
_LAYOUT = ("features", "classes")


def diff(versions: Versions, a: Version, b: Version, *, rng: np.random.Generator, frames: Frames | None = None,
         bundles: Bundles | None = None, rescore: bool = False) -> Difference:
    """Compare two versions; `a` is the older by custom.

    frames: how a dataset's raw rows are read (for the slice, and to score again); bundles: how a version is loaded;
    rescore: where the evaluations can't be paired, ask `a` about the rows that `b` was tested on, if both are given.
    Raises BlobMissing, DigestMismatch where stored bytes are missing or damaged.
    """
    written = _written(versions, a, b)
    try:
        one, two, pairing = _pair(versions, a, b, frames, bundles, rescore)
    except CheckFailed as why:
        return Difference(a=a.name, b=b.name, same_bytes=a.manifest.files == b.manifest.files,
                          metrics=_unpaired(versions, a, b), pairing=str(why),
                          can_rescore=bool(why.details.get("can_rescore")), **written)
    frame = _rows(frames, two)
    metrics, loss = _metrics(versions, a, b, one, two, frame, rng)
    classes = bool(two.classes)
    differs, gap = _where(one, two)
    return Difference(
        a=a.name, b=b.name, same_bytes=a.manifest.files == b.manifest.files, metrics=metrics, rows=len(two.rows),
        loss=loss, pairing=pairing, **written, disagree=int(differs.sum()),
        rule="another class is answered" if classes else "the largest differences (the top 1% of rows, or the ten "
             "largest, or a tenth of fewer than 100 rows)",
        examples=_examples(one, two, differs, gap, frame),
        search=_search(b, frame, differs))


def _pair(versions: Versions, a: Version, b: Version, frames: Frames | None, bundles: Bundles | None,
          rescore: bool) -> tuple[Scored, Scored, str]:
    for what in ("task", "target"):
        if a.facts.get(what) != b.facts.get(what):
            raise CheckFailed(f"they predict different things: the {what} is {a.facts.get(what)!r} in {a.name} and "
                              f"{b.facts.get(what)!r} in {b.name}")
    two = scored.stored(versions, b)
    try:
        one = scored.stored(versions, a)
        whole = len(one.rows), len(two.rows)
        one, two = scored.in_common(one, two)
    except CheckFailed as why:
        able = frames is not None and bundles is not None
        if not (rescore and frames is not None and bundles is not None):
            offer = f". {a.name} can be asked about the rows that {b.name} was tested on: add --rescore" if able else ""
            raise CheckFailed(f"{why}{offer}", can_rescore=able) from None
        return scored.rescored(versions, a, two, frames, bundles)
    if whole == (len(two.rows), len(two.rows)):
        return one, two, f"paired on the {len(two.rows):,} held-out rows of both"
    return one, two, (f"the splits differ: paired on the {len(two.rows):,} rows that both held out "
                      f"(of {whole[0]:,} and {whole[1]:,})")


def _metrics(versions: Versions, a: Version, b: Version, one: Scored, two: Scored, frame: pl.DataFrame | None,
             rng: np.random.Generator) -> tuple[tuple[MetricChange, ...], Paired | None]:
    task: Any = b.facts["task"]
    if task == "regression":
        guess_a, guess_b, y = one.predicted, two.predicted, two.y
        values_a, values_b = regression_scores(y, guess_a), regression_scores(y, guess_b)
        options: dict[str, Any] = {}
    elif one.proba is None or two.proba is None or one.classes != two.classes or np.isnan(two.y).any():
        return _accuracies(one, two), None
    else:
        guess_a, guess_b, y = one.proba, two.proba, two.y.astype(np.int64)
        cut_a, cut_b = _threshold(a), _threshold(b)
        positive = _positive(b, two.classes)
        values_a = classification_scores(y, guess_a, two.classes, cut_a, positive=positive)
        values_b = classification_scores(y, guess_b, two.classes, cut_b, positive=positive)
        options = {"threshold": cut_a, "threshold_b": cut_b, "positive": positive}
        if cut_a is not None and cut_b is None:
            options["threshold_b"] = 0.5       # the more probable of two classes
    loss_a, loss_b = row_losses(task, y, guess_a), row_losses(task, y, guess_b)
    order, dependence = _dependence(versions, b, frame, loss_a - loss_b)
    changes = score_differences(task, y[order], guess_a[order], guess_b[order], rng=rng, **dependence, **options)
    loss = paired_difference(loss_a[order], loss_b[order], **dependence)
    return tuple(MetricChange(metric=name, a=values_a[name], b=values_b[name], change=change)
                 for name, change in changes.items()), loss


def _accuracies(one: Scored, two: Scored) -> tuple[MetricChange, ...]:
    """Where the classes differ or no probabilities are kept, the share of right answers still can be compared."""
    truths = [_label(two, code) for code in two.y]
    right = [np.array([_label(s, code) == truth for code, truth in zip(s.predicted, truths, strict=True)], float)
             for s in (one, two)]
    found = paired_difference(right[1], right[0])
    return (MetricChange(metric="accuracy", a=float(right[0].mean()), b=float(right[1].mean()), change=Interval(
        value=found.mean, low=found.low, high=found.high, level=found.level, n=found.n)),)


def _dependence(versions: Versions, b: Version, frame: pl.DataFrame | None, gap: Array,
                ) -> tuple[NDArray[np.intp], dict[str, Any]]:
    """(order of the rows, what `stats` needs to know about rows that belong together), by the version's own split."""
    order = np.arange(len(gap))
    try:
        settings: Any = versions.ingredient(b, "config")["files"]
        split = parse(settings["trimtab.toml"], root=Path()).model.split
    except (TrimtabError, KeyError, TypeError):
        return order, {}
    if split.group is not None and frame is not None and split.group in frame.columns:
        return order, {"groups": np.asarray([str(value) for value in frame[split.group].to_list()])}
    if split.time is not None:
        if frame is not None and split.time in frame.columns:
            order = frame[split.time].arg_sort().to_numpy().astype(np.intp)
        return order, {"blocks": block_length(gap[order])}
    return order, {}


def _unpaired(versions: Versions, a: Version, b: Version) -> tuple[MetricChange, ...]:
    """Each evaluation's own numbers, side by side."""
    told = [_own_metrics(versions.evaluation(version)) for version in (a, b)]
    return tuple(MetricChange(metric=name, a=told[0].get(name), b=told[1].get(name))
                 for name in {**told[0], **told[1]})


def _own_metrics(evaluation: Any) -> dict[str, float]:
    try:
        return {name: found["value"] for name, found in evaluation["test"]["metrics"].items()}
    except (TypeError, KeyError, AttributeError):
        return {}


def _written(versions: Versions, a: Version, b: Version) -> dict[str, Any]:
    config_a, config_b = (_files(versions.ingredient(version, "config")) for version in (a, b))
    code_a, code_b = (versions.ingredient(version, "code") for version in (a, b))
    facts_a, facts_b = ({key: value for key, value in version.facts.items() if key not in _LAYOUT}
                        for version in (a, b))
    return {
        "parameters": changed(facts_a, facts_b),
        "features": changed(*({key: version.facts.get(key) for key in _LAYOUT} for version in (a, b))),
        "contract": changed_toml(*(_contract(versions, version) for version in (a, b))),
        "environment": changed(versions.ingredient(a, "environment"), versions.ingredient(b, "environment")),
        "config": changed_toml(config_a.get("trimtab.toml"), config_b.get("trimtab.toml")),
        "data": changed(versions.ingredient(a, "data"), versions.ingredient(b, "data")),
        "code": _code(versions, a, b, _files(code_a), _files(code_b)),
        "git": changed(code_a.get("git"), code_b.get("git")),
    }


def _code(versions: Versions, a: Version, b: Version, files_a: dict[str, Any],
          files_b: dict[str, Any]) -> tuple[FileChange, ...]:
    differing = [path for path in {**files_a, **files_b}
                 if _digest(files_a.get(path)) != _digest(files_b.get(path))]

    def read(version: Version, files: dict[str, Any]) -> dict[str, bytes | None]:
        return {path: versions.blob(version, path, digest) for path in differing
                if (digest := _digest(files.get(path))) is not None}

    return changed_files(read(a, files_a), read(b, files_b), differing=differing)


def _contract(versions: Versions, version: Version) -> str | None:
    if "contract.toml" not in version.manifest.files or version.deleted_at is not None:
        return _files(versions.ingredient(version, "config")).get("contract.toml")
    return versions.read(version, "contract.toml").decode("utf-8", "replace")


def _where(one: Scored, two: Scored) -> tuple[NDArray[np.bool_], Array]:
    """(which rows disagree, by how much)."""
    if not two.classes:
        return disagreements(one.predicted, two.predicted, classes=False), np.abs(one.predicted - two.predicted)
    if one.classes != two.classes:
        other = np.array([_label(one, x) != _label(two, y) for x, y in zip(one.predicted, two.predicted, strict=True)])
        return other, other.astype(np.float64)
    differs = disagreements(one.predicted, two.predicted, classes=True)
    if one.proba is None or two.proba is None:
        return differs, differs.astype(np.float64)
    return differs, np.abs(one.proba - two.proba).max(axis=1)


def _examples(one: Scored, two: Scored, differs: NDArray[np.bool_], gap: Array,
              frame: pl.DataFrame | None) -> tuple[Example, ...]:
    places = np.flatnonzero(differs)
    places = places[np.argsort(-gap[places], kind="stable")][:MOST_EXAMPLES]
    return tuple(Example(
        row=int(two.rows[at]), y=_label(two, two.y[at]), a=_label(one, one.predicted[at]),
        b=_label(two, two.predicted[at]),
        values={} if frame is None else dict(list(frame.row(int(at), named=True).items())[:MOST_VALUES]))
        for at in places)


def _search(b: Version, frame: pl.DataFrame | None, differs: NDArray[np.bool_]) -> Search:
    if frame is None:
        return Search(slice=None, looked_at=0, note="the rows of the data are not stored, so no slice can be named")
    target = b.facts.get("target")
    return find_slice(frame.select(name for name in frame.columns if name != target), differs)


def _rows(frames: Frames | None, two: Scored) -> pl.DataFrame | None:
    import polars as pl

    if frames is None:
        return None
    try:
        frame = frames(two.dataset)
    except TrimtabError:                       # said where no slice can be named
        return None
    return frame.select(pl.all().gather(two.rows.tolist()))


def _label(of: Scored, code: float) -> object:
    if not of.classes:
        return float(code)
    return None if math.isnan(code) else of.classes[int(code)]


def _threshold(version: Version) -> float | None:
    found = version.facts.get("threshold")
    return float(found) if isinstance(found, int | float) else None


def _positive(version: Version, classes: tuple[Any, ...]) -> int:
    found = version.facts.get("positive")
    return classes.index(found) if found in classes else 1


def _files(told: dict[str, object]) -> dict[str, Any]:
    found = told.get("files")
    return found if isinstance(found, dict) else {}


def _digest(file: Any) -> Digest | None:
    return None if file is None else Digest(file["digest"])
