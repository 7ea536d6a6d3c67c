"""Which flavours of model are there?  One row each: what it is recognised by, and what it needs.

Every flavour is an estimator in one container: a skops file (`sklearn.py`) in which a network, a graph or a booster is
a type of ours that holds its model in that library's own safe form. So one judge, one digest and one way to predict
serve all of them, and a pipeline of scikit-learn may end in any.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.errors import MissingExtra

SKLEARN = "sklearn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor:
    """One row. type: module and name of the estimator of ours that holds such a model ("" for scikit-learn itself).

    given: beginnings of the module names of what people hand to `register`, ending in "."; ending: of a file's name.
    needs: the module that answers; product: how people call it.
    """

    type: str = ""
    given: tuple[str, ...] = ()
    ending: str = ""
    needs: str = ""
    product: str = ""


FLAVORS: Mapping[str, Flavor] = {
    SKLEARN: Flavor(),
    "keras": Flavor(type="trimtab.flavors.keras:Network", given=("keras.",), ending=".keras", needs="tensorflow",
                    product="TensorFlow"),
    "onnx": Flavor(type="trimtab.flavors.onnx:Graph", given=("onnx.",), ending=".onnx", needs="onnxruntime",
                   product="ONNX Runtime"),
    "xgboost": Flavor(type="trimtab.flavors.boosters:XGBoost", given=("xgboost.",), needs="xgboost", product="XGBoost"),
    "lightgbm": Flavor(type="trimtab.flavors.boosters:LightGBM", given=("lightgbm.",), needs="lightgbm",
                       product="LightGBM"),
    "python": Flavor(type="trimtab.flavors.python:Function"),
}
TYPES = frozenset(row.type.replace(":", ".") for row in FLAVORS.values() if row.type)


def of_types(types: Iterable[str]) -> str:
    """The flavour of a model file that holds these types.

    >>> of_types(["sklearn.pipeline.Pipeline", "trimtab.flavors.onnx.Graph"]), of_types(["sklearn.svm._classes.SVR"])
    ('onnx', 'sklearn')
    """
    held = frozenset(types)
    return next((name for name, row in FLAVORS.items() if row.type and row.type.replace(":", ".") in held), SKLEARN)


def of_model(model: object) -> str:
    """The flavour of what was handed over: an object, the path of a file, or `module:function`."""
    if isinstance(model, str | Path):
        suffix = Path(model).suffix.lower()
        return next((name for name, row in FLAVORS.items() if row.ending and row.ending == suffix), "python")
    homes = [f"{kind.__module__}." for kind in type(model).__mro__]
    return next((name for name, row in FLAVORS.items() for begin in row.given
                 if any(home.startswith(begin) for home in homes)), SKLEARN)


def estimator(model: Any, labels: Any = None) -> Any:
    """`model` as an estimator that can be saved: as it is for scikit-learn, else through its row of the table.

    labels: for classes, the sorted labels; None for numbers. Raises MissingExtra, UntrustedModel, UsageError.
    """
    name = of_model(model)
    row = FLAVORS[name]
    if not row.type:
        return model
    require(name)
    return kind(name).of(model, labels)


def kind(name: str) -> Any:
    """The class of ours that holds models of a flavour other than scikit-learn."""
    module, _, attribute = FLAVORS[name].type.partition(":")
    return getattr(importlib.import_module(module), attribute)


def require(name: str) -> None:
    """Raises MissingExtra where the library that answers for a flavour is not installed."""
    row = FLAVORS.get(name)
    if row is None:
        raise MissingExtra(f"flavour {name!r} is not known to this trimtab; it knows {', '.join(FLAVORS)}")
    if row.needs and importlib.util.find_spec(row.needs) is None:
        raise MissingExtra(f"flavour {name!r} needs {row.product}: pip install 'trimtab[{name}]'")
