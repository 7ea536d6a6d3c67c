"""How does a model that was fitted elsewhere become a version?  `trimtab.register("risk", model, train=…, test=…)`

No decorator and no wrapper class: the rows that it was trained and tested on make the dataset version and the contract;
it is judged beside the trivial baseline on the test rows, saved without pickle, and registered like any other.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import polars as pl

from trimtab import canon
from trimtab import config as configuration
from trimtab.config import ProjectConfig
from trimtab.data import infer
from trimtab.data.contract import Contract
from trimtab.data.table import Table
from trimtab.errors import CheckFailed, UsageError
from trimtab.flavors import sklearn as skops_file
from trimtab.flavors import table
from trimtab.flavors.python import Function
from trimtab.names import check_name
from trimtab.pipeline import artifacts, prepare
from trimtab.pipeline.budget import Stopwatch
from trimtab.pipeline.candidates import resolve
from trimtab.pipeline.custom import load_function
from trimtab.pipeline.evaluate import evaluate
from trimtab.pipeline.fitting import FitFailed, answers
from trimtab.pipeline.model import CandidateResult, Learnable, Split, TrainReport
from trimtab.pipeline.train import metric_of
from trimtab.pipeline.training import train_one
from trimtab.project import registering
from trimtab.project.files import CONTRACT, TOML, find_root
from trimtab.project.handles import ModelVersion
from trimtab.project.project import Project
from trimtab.project.watching import as_frame
from trimtab.registry.bundle import decode, to_pandas
from trimtab.store.blobs import put_bytes
from trimtab.workspace import Workspace, locate

OWN = "own"                                    # the candidate's name in the report
_TRIED_ROWS = 200
Input = Literal["matrix", "frame", "polars"]


def register(model: str, estimator: Any, *, train: tuple[Any, Any], test: tuple[Any, Any], note: str = "",
             workspace: str | Path | Workspace | None = None, trusted: Sequence[str] = (),
             convert: Literal["", "onnx"] = "") -> ModelVersion:
    """Judge a fitted model on `test` and register it as the next version of `model`.

    estimator: of scikit-learn; a Keras, XGBoost, LightGBM or ONNX model, or the path of a `.keras` or `.onnx` file,
    which take numbers (of classes sorted by label); or "module:function", which takes a Polars frame. train, test:
    (X, y); X a pandas or Polars frame or a matrix, shape (rows, features), y shape (rows,). In a project of that model
    its contract, gates and costs apply, else a contract is inferred from the rows. A classifier's answer is the class
    that it predicts itself, unless trimtab.toml has [decision] costs, which choose a threshold. An estimator that
    needs a pandas frame (it picks columns by name) is served with one. trusted: types, and functions, allowed besides
    `[model] trusted`. convert: "onnx" to answer through ONNX Runtime where a converted graph agrees. Raises UsageError
    (shapes; not fitted), MissingExtra, UntrustedModel (what can't be saved or is not trusted), CheckFailed.
    """
    check_name("model", model)
    flavor = table.of_model(estimator)
    if flavor == table.SKLEARN:
        if not hasattr(estimator, "predict"):
            raise UsageError(f"{type(estimator).__name__} has no predict; give a fitted scikit-learn estimator")
        _require_fitted(estimator)
    space = workspace if isinstance(workspace, Workspace) else Workspace.open(locate(workspace), create=True)
    project = _project(model, space)
    rows, split, contract = _rows(model, train, test, project)
    config = project.config if project else _config(model, contract, rows.frame)
    config = _trusting(config, trusted)
    task = prepare.task_of(config, contract, rows.frame)
    if flavor != table.SKLEARN:
        values = np.concatenate([np.asarray(train[1]), np.asarray(test[1])])
        estimator = table.estimator(estimator, None if task == "regression" else np.unique(values))
    if isinstance(estimator, Function):
        load_function(estimator.reference, config.root)
        estimator.trust(frozenset(config.model.trusted))
    dataset = space.datasets.record(rows, contract, by=space.actor).digest
    learnable, _ = prepare.encoded(rows.frame, contract, _plain(config), task, dataset)
    saved, asked_with = _fitting(estimator, learnable, split, contract, test[0])
    return _judged(space, config, contract, learnable, split, saved, asked_with, estimator, note, convert)


def _require_fitted(estimator: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except NotFittedError:
        raise UsageError(f"this {type(estimator).__name__} is not fitted; call fit first") from None
    except TypeError:                          # an estimator of another kind: predict will tell
        pass


def _project(model: str, space: Workspace) -> Project | None:
    """The project of the current folder, if it is about this model."""
    root = find_root()
    if root is None:
        return None
    project = Project.open(root, space)
    return project if project.name == model and (root / CONTRACT).is_file() else None


def _rows(model: str, train: tuple[Any, Any], test: tuple[Any, Any],
          project: Project | None) -> tuple[Table, Split, Contract]:
    """All rows as one table, which of them train, and the contract that they are under."""
    names = [column.name for column in project.contract.features] if project else \
        [f"x{place}" for place in range(np.asarray(train[0]).shape[-1])]
    frames, targets = [], []
    for side, (X, y) in (("train", train), ("test", test)):
        if not len(X):
            raise UsageError(f"{side} has no rows; hold some out, e.g. with train_test_split(test_size=0.2)")
        frame = as_frame(X, names)
        values = np.asarray(y)
        if values.shape != (frame.height,):
            raise UsageError(f"X has {frame.height} rows and y has shape {values.shape}; give one true value a row")
        frames.append(frame)
        targets.append(values)
    if frames[0].columns != frames[1].columns:
        raise UsageError("train and test have different columns")
    target = project.contract.target.name if project else _target_name(train[1], frames[0].columns)
    frame = pl.concat(frames, how="vertical_relaxed").with_columns(
        pl.Series(target, np.concatenate(targets).tolist()))
    contract = infer.infer_contract(frame, target=target)
    if project is not None and set(frame.columns) <= {column.name for column in project.contract.columns}:
        contract = Contract(columns=tuple(one for one in project.contract.columns if one.name in frame.columns),
                            owner=project.contract.owner)
    edge = frames[0].height
    sides = [np.arange(edge, dtype=np.int64), np.arange(edge, frame.height, dtype=np.int64)]
    digest = canon.digest_json(["given", 0, *(canon.digest_bytes(side.tobytes()) for side in sides)])
    return (Table(frame=frame, source="given in Python"),
            Split(train=sides[0], test=sides[1], kind="row", seed=0, digest=digest), contract)


def _target_name(y: Any, taken: Sequence[str]) -> str:
    name = getattr(y, "name", None)
    return name if isinstance(name, str) and name and name not in taken else "target"


def _config(model: str, contract: Contract, frame: pl.DataFrame) -> ProjectConfig:
    task = infer.infer_task(frame, contract.target.name)
    text = configuration.render(name=model, data="given-in-python", target=contract.target.name, task=task,
                                candidates=("dummy",))
    return configuration.parse(text, root=Path.cwd(), name=TOML)


def _plain(config: ProjectConfig) -> ProjectConfig:
    """Without the project's own transform: the estimator was fitted on these columns."""
    return msgspec.structs.replace(config, train=msgspec.structs.replace(config.train, features=None))


def _trusting(config: ProjectConfig, trusted: Sequence[str]) -> ProjectConfig:
    names = tuple(dict.fromkeys((*config.model.trusted, *trusted)))
    return msgspec.structs.replace(config, model=msgspec.structs.replace(config.model, trusted=names))


def _fitting(estimator: Any, data: Learnable, split: Split, contract: Contract, X_test: Any) -> tuple[Any, Input]:
    """(the estimator as it will be saved, what it is asked with)."""
    if isinstance(estimator, Function):
        return estimator, "polars"
    own = copy.deepcopy(estimator)
    _forget_names(own)                                       # it is asked with a matrix, whose columns have no names
    rows = split.test[:_TRIED_ROWS]
    want = np.asarray(estimator.predict(X_test[:_TRIED_ROWS]))
    try:
        if np.array_equal(np.asarray(own.predict(data.X[rows])), want):
            return own, "matrix"
    except (ValueError, TypeError, IndexError):
        pass                                                  # it wants column names or raw categories
    try:
        again = np.asarray(estimator.predict(_asking("frame", contract)(data.X[rows])))
    except (ValueError, TypeError, LookupError) as problem:
        said = str(problem).splitlines()[0][:120]
        raise UsageError(f"the estimator refuses the rows as trimtab stores them ({said}); put what prepares them into "
                         "one sklearn Pipeline with it, and fit that") from None
    if np.array_equal(again, want):
        return estimator, "frame"
    raise UsageError("the estimator answers otherwise for the rows as trimtab stores them than for those you gave: was "
                     "it fitted on the train rows given here, without a step outside the estimator (a scaler, an "
                     "encoder)? Put such steps into one sklearn Pipeline")


def _forget_names(value: Any) -> None:
    """Drop the column names that an estimator and its parts remember from a frame; they would only warn."""
    if isinstance(value, list | tuple):
        for part in value:
            _forget_names(part)
    elif hasattr(value, "get_params") and not isinstance(value, type):
        vars(value).pop("feature_names_in_", None)
        for part in vars(value).values():
            _forget_names(part)


def _asking(kind: Input, contract: Contract) -> Callable[[Any], Any]:
    """How encoded rows become what the estimator takes."""
    if kind == "polars":
        return lambda X: decode(contract, X)
    return (lambda X: to_pandas(contract, decode(contract, X))) if kind == "frame" else lambda X: X


class Asked:
    """An estimator in the terms of the pipeline: asked with the encoded matrix, classes as codes.

    rows: makes of the matrix what it takes. Raises CheckFailed for a class that the test rows do not have, as their
    codes would not fit.
    """

    def __init__(self, estimator: Any, rows: Callable[[Any], Any], classes: Sequence[Any]) -> None:
        self._estimator, self._rows = estimator, rows
        if classes:
            known = np.asarray(estimator.classes_).tolist()
            if not set(known) <= set(classes):
                raise CheckFailed(f"the estimator knows the classes {known[:6]}, the rows have {list(classes)[:6]}; "
                                  "give the rows that it was trained on as train")
            self.classes_ = np.array([list(classes).index(label) for label in known], dtype=np.int64)
            if hasattr(estimator, "predict_proba"):
                self.predict_proba = lambda X: estimator.predict_proba(self._rows(X))

    def predict(self, X: Any) -> Any:
        """The estimator's answers: numbers, or codes of classes."""
        found = np.asarray(self._estimator.predict(self._rows(X)))
        if not hasattr(self, "classes_"):
            return found
        code = dict(zip(np.asarray(self._estimator.classes_).tolist(), self.classes_.tolist(), strict=True))
        return np.array([code[label] for label in found.tolist()], dtype=np.int64)


def _judged(space: Workspace, config: ProjectConfig, contract: Contract, data: Learnable, split: Split, saved: Any,
            asked_with: Input, estimator: Any, note: str, convert: str) -> ModelVersion:
    model, rows = config.model.name, _asking(asked_with, contract)
    made_by = getattr(estimator, "reference", type(estimator).__name__)
    run = space.runs.start("train", model, by=space.actor, params={"estimator": made_by},
                           inputs={"dataset": str(data.dataset), "split": split.digest}, tags={"brought": "yes"})
    mine = skops_file.save(saved)
    dummy = train_one(data, split, resolve("dummy", data.task, root=config.root),
                      watch=Stopwatch(config.train.budget.minutes))
    floor = skops_file.save(dummy.estimator)
    results = (
        CandidateResult(name=OWN, family="custom", model=put_bytes(space.blobs, mine.files[skops_file.FILE]),
                        types=mine.types, notes=(f"{made_by}, fitted outside trimtab",)),
        CandidateResult(name="dummy", family="baseline", model=put_bytes(space.blobs, floor.files[skops_file.FILE]),
                        types=floor.types, mean=dummy.scores.mean, folds=dummy.scores.losses, se=dummy.scores.se))
    report = TrainReport(
        run=run.id, model=model, task=data.task, metric=metric_of(data.task), candidates=results, chosen=OWN,
        reason="given in Python", dataset=data.dataset or artifacts.learnable_digest(data), split=split.digest,
        classes=data.classes, features=data.features, preprocessing=())
    done = evaluate(report, data, split, config, blobs=space.blobs, db=space.db, clock=space.clock, by=space.actor,
                    rng=np.random.default_rng(config.model.split.seed),
                    refit=_refit(estimator, data, rows),
                    decide=config.decision != configuration.Decision(),    # else the classes stay those it predicts
                    models={OWN: Asked(saved, rows, data.classes)})
    found = done.evaluation
    space.runs.log(run.id, {name: one.value for name, one in found.metrics.items()})
    space.runs.finish(run.id, outputs={"report": artifacts.save_report(space.blobs, report)})
    parts = registering.parts(report, _plain(config), contract, space.blobs, threshold=found.threshold,
                              rows=data.X[split.test] if asked_with == "matrix" else None, convert=convert,
                              runs=(made_by,) if isinstance(estimator, Function) else (),
                              positive=found.decision.positive if found.decision else None)
    version = space.versions.register(
        model, parts.files, flavor=parts.flavor, types=parts.types, ingredients=parts.ingredients,
        facts={**parts.facts, "input": asked_with, "brought": True, "candidate": made_by},
        evaluation=found.to_json(), gates="passed" if found.gates.passed else "failed", run=run.id, note=note,
        by=space.actor)
    return ModelVersion(space, version)


def _refit(estimator: Any, data: Learnable, rows_of: Callable[[Any], Any]) -> Any:
    """How the same estimator is fitted on other rows."""
    from sklearn.base import clone

    labels = np.array(data.classes)[data.y] if data.classes else data.y

    def refit(rows: Any, seed: int) -> Any:
        fresh = clone(estimator)
        if "random_state" in fresh.get_params():
            fresh.set_params(random_state=seed)
        try:
            fresh.fit(rows_of(data.X[rows]), labels[rows])
        except (ValueError, TypeError, LookupError) as problem:    # it wants pandas' own categories, say
            raise FitFailed(f"it can't be fitted again on the rows as trimtab stores them: "
                            f"{str(problem).splitlines()[0][:120]}") from problem
        asked = Asked(fresh, rows_of, data.classes)
        return lambda at: answers(asked, at, data.task, len(data.classes))

    return refit
