"""How does the encoded matrix become what a family of models can use?

Chosen from the contract per family, overridable column by column (`[features]`), printable for people, and fitted as
the first step of the model's own Pipeline, so never on rows that a fold holds out. Only scikit-learn's own
transformers are used: a model file then holds no code of ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trimtab.config import FeatureRule, suggest
from trimtab.errors import ConfigInvalid
from trimtab.pipeline.model import Array, Feature

Style = Literal["plain", "scaled", "trees", "none"]
Encode = Literal["number", "onehot", "ordinal"]
_ABSENT = -2.0                                # the code of a missing category; unseen is -1, known ones are 0, 1, …
_STRATEGIES = {"median": "median", "mean": "mean", "most_frequent": "most common value"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """What happens to one column. `impute` is "" where missing values stay (trees) or none are expected."""

    index: int
    name: str
    kind: str
    encode: Encode
    levels: int = 0                           # known categories
    missing: bool = False                     # allowed by the contract, or seen among the training rows
    impute: str = ""
    indicator: bool = False
    scale: bool = False


def plan(features: Sequence[Feature], X: Array, style: Style,
         rules: Mapping[str, FeatureRule] | None = None) -> tuple[Treatment, ...]:
    """One treatment per feature, in order.

    X: shape (training rows, features), read only for where values are missing. style: "plain" (least squares, which
    scaling can't change), "scaled" (penalised and kernel models), "trees" (ordinal, missing values kept), "none".
    Raises ConfigInvalid as `check_rules`.
    """
    rules = rules or {}
    check_rules(rules, features)
    absent = [int(np.isnan(column).sum()) for column in X.T]
    return tuple(_treat(index, feature, absent[index] > 0 or feature.missing, absent[index] == len(X), style,
                        rules.get(feature.name)) for index, feature in enumerate(features))


def check_rules(rules: Mapping[str, FeatureRule], features: Sequence[Feature]) -> None:
    """Refuse a rule of `[features]` that could do nothing: a setting that is read and ignored would be a lie.

    Raises ConfigInvalid: a column that is no feature, an encoding of what is no category, a mean of categories.
    """
    kinds = {feature.name: feature.kind for feature in features}
    for name, rule in rules.items():
        if name not in kinds:
            raise ConfigInvalid(f"[features] {name}: there is no feature of that name{suggest(name, list(kinds))}",
                                key=name)
        if rule.encode is not None and kinds[name] != "category":
            raise ConfigInvalid(f"[features] {name}: encode = \"{rule.encode}\" is for categories, and this is a "
                                f"{kinds[name]}; leave encode out, or make it a category in contract.toml", key=name)
        if rule.impute in ("mean", "median") and kinds[name] == "category":
            raise ConfigInvalid(f"[features] {name}: a category has no {rule.impute}; write impute = "
                                "\"most_frequent\", or leave it out: missing is then a category of its own", key=name)


def build(treatments: Sequence[Treatment]) -> Any:
    """An unfitted scikit-learn transformer for the plan, or "passthrough" where nothing needs to be done.

    Takes shape (rows, features) float64 as `data.encode` makes it; gives shape (rows, prepared columns) float64,
    without NaN unless the plan keeps them. Columns: numbers and ordinal codes (in groups of equal
    treatment), then one column per category, then missing-value indicators.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import MissingIndicator

    if not any(t.impute or t.scale or t.indicator or t.encode == "onehot" for t in treatments):
        return "passthrough"
    parts: list[tuple[str, Any, list[int]]] = []
    for (encode, impute, scale), group in _groups(t for t in treatments if t.encode != "onehot"):
        parts.append((_part_name(encode, impute, scale), _numeric(impute, scale), [t.index for t in group]))
    for t in treatments:
        if t.encode == "onehot":
            parts.append((f"onehot_{t.index}", _onehot(t), [t.index]))
    if told := [t.index for t in treatments if t.indicator]:
        parts.append(("missing", MissingIndicator(features="all"), told))
    return ColumnTransformer(parts, sparse_threshold=0, verbose_feature_names_out=False)


def width(treatments: Sequence[Treatment]) -> int:
    """How many prepared columns the plan gives.

    >>> width([Treatment(index=0, name="x", kind="number", encode="number", missing=True, impute="median",
    ...                  indicator=True)])
    2
    """
    return sum((t.levels + (t.missing and not t.impute) if t.encode == "onehot" else 1) + t.indicator
               for t in treatments)


def lines(treatments: Sequence[Treatment]) -> tuple[str, ...]:
    """The plan for people, one line per group of columns that are treated alike."""
    groups: dict[str, list[str]] = {}
    for t in treatments:
        groups.setdefault(_sentence(t), []).append(t.name)
    return tuple(f"{_shown(names)}: {what}" for what, names in groups.items())


def _treat(index: int, feature: Feature, missing: bool, empty: bool, style: Style,
           rule: FeatureRule | None) -> Treatment:
    rule = rule or FeatureRule()
    category, levels = feature.kind == "category", len(feature.categories)
    fills = missing and (style in ("plain", "scaled") or (style == "trees" and empty))   # no tree splits on nothing
    encode: Encode = "number"
    if category:
        encode = rule.encode or ("onehot" if style in ("plain", "scaled") else "ordinal")
    impute = ""
    if fills and encode != "onehot":           # a missing category is a level of its own
        impute = "most_frequent" if category or feature.kind == "boolean" else "median"
    if rule.impute is not None:
        impute = "" if rule.impute == "none" or not missing else rule.impute
    if category and impute in ("mean", "median"):
        impute = "most_frequent"               # codes have no mean
    indicator = missing and bool(impute) and encode != "onehot" and style != "trees"
    if rule.missing_indicator is not None:
        indicator = rule.missing_indicator and missing
    scale = encode != "onehot" and (
        (style == "scaled" and feature.kind != "boolean") or (style == "plain" and feature.kind == "datetime"))
    if rule.scale is not None:
        scale = rule.scale and encode != "onehot"
    return Treatment(index=index, name=feature.name, kind=feature.kind, encode=encode, levels=levels, missing=missing,
                     impute=impute, indicator=indicator, scale=scale)


_Group = tuple[str, str, bool]


def _groups(treatments: Any) -> list[tuple[_Group, list[Treatment]]]:
    found: dict[_Group, list[Treatment]] = {}
    for t in treatments:
        found.setdefault((t.encode, t.impute, t.scale), []).append(t)
    return list(found.items())


def _part_name(encode: str, impute: str, scale: bool) -> str:
    return "_".join([encode, *([impute] if impute else []), "scaled" if scale else "plain"])


def _numeric(impute: str, scale: bool) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    steps: list[tuple[str, Any]] = []
    if impute:
        steps.append(("impute", SimpleImputer(strategy=impute, keep_empty_features=True)))
    if scale:
        steps.append(("scale", StandardScaler()))
    if not steps:
        return "passthrough"
    return steps[0][1] if len(steps) == 1 else Pipeline(steps)


def _onehot(t: Treatment) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    own_level = t.missing and not t.impute
    codes = np.concatenate([[_ABSENT] if own_level else [], np.arange(t.levels, dtype=np.float64)])
    encoder = OneHotEncoder(categories=[codes], handle_unknown="ignore", sparse_output=False)
    if not t.missing:
        return encoder
    fill = (SimpleImputer(strategy="constant", fill_value=_ABSENT) if own_level
            else SimpleImputer(strategy=t.impute, keep_empty_features=True))
    return Pipeline([("impute", fill), ("encode", encoder)])


def _sentence(t: Treatment) -> str:
    said: list[str] = []
    if t.kind == "datetime":
        said.append("days since 1970-01-01")
    if t.encode == "onehot":
        said.append("one column per category, an unseen one sets none")
        if t.missing:
            said.append("missing → " + (_STRATEGIES[t.impute] if t.impute else "a category of its own"))
    else:
        if t.encode == "ordinal":
            said.append("category codes in the contract's order, unseen → -1")
        if t.impute:
            said.append(f"missing → {_STRATEGIES[t.impute]}")
        elif t.missing:
            said.append("missing stays missing")
    if t.indicator:
        said.append("with a column that says so")
    if t.scale:
        said.append("scaled to mean 0, sd 1")
    return ", ".join(said) or "as it is"


def _shown(names: list[str], most: int = 6) -> str:
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"
