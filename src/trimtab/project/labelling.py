"""How do truths that came later reach the predictions?  From a table with a key and a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from trimtab.data.contract_toml import parse
from trimtab.data.lookup import near
from trimtab.data.readers import read_table
from trimtab.errors import DataUnreadable, UsageError
from trimtab.traffic.labels import KeyKind, Told
from trimtab.traffic.redaction import key_of
from trimtab.workspace import Workspace

PREDICTION = ("prediction", "prediction_id", "id")


def label(workspace: Workspace, model: str, source: Any, *, key: str | None = None, truth: str | None = None) -> Told:
    """Keep the labels of a table (path or frame).

    key: the column that predictions are joined by; without it a column of prediction ids (`prediction`,
    `prediction_id` or `id`). truth: the column of true values (default: the model's target, else the last column).
    Raises NotFound (model), UsageError (no such column), DataUnreadable (a key or a truth is missing).
    """
    version = workspace.versions.resolve(model)
    frame = read_table(source).frame
    ids = key if key is not None else next((name for name in PREDICTION if name in frame.columns), None)
    if ids is None:
        raise UsageError(f"there is no column of prediction ids ({', '.join(PREDICTION)}); name the column to join by "
                         "with --key")
    target = truth or str(version.facts.get("target"))
    value = target if target in frame.columns or truth else frame.columns[-1]
    for name in (ids, value):
        if name not in frame.columns:
            raise UsageError(f"the labels have no column {name!r}.{near(name, frame.columns)}")
    if ids == value:
        raise UsageError(f"the column {ids!r} can't be both the key and the truth; name them with --key and --truth")
    if missing := frame.filter(pl.col(ids).is_null() | pl.col(value).is_null()).height:
        raise DataUnreadable(f"{missing} of {frame.height} rows have no {ids} or no {value}; leave them out until they "
                             "are known")
    return tell(workspace, version.model, "prediction" if key is None else "key",
                list(zip(frame[ids].cast(pl.String).to_list(), frame[value].to_list(), strict=True)))


def tell(workspace: Workspace, model: str, kind: KeyKind, told: Sequence[tuple[str, object]]) -> Told:
    """Keep (key, truth) pairs of a model, and count which keys no recorded prediction has yet.

    Raises NotFound (model), DataUnreadable (a key or a truth that none can be).
    """
    version = workspace.versions.resolve(model)
    name = version.model
    if version.facts.get("task") == "regression":
        wrong = next(((key, value) for key, value in told if not _is_number(value)), None)
        if wrong is not None:
            raise DataUnreadable(f"the truth of {str(wrong[0])[:60]} is {str(wrong[1])[:60]!r}, and {name} predicts a "
                                 "number: tell numbers. None of these labels was kept")
    if kind == "key":
        told = _as_recorded(workspace, name, told)
    kept = workspace.labels.put(name, kind, told, by=workspace.actor)
    keys = list(dict.fromkeys(key for key, _ in told))
    known = workspace.traffic.known(name, "id" if kind == "prediction" else "key", keys)
    return replace(kept, unknown=len(keys) - known)


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def _as_recorded(workspace: Workspace, model: str, told: Sequence[tuple[str, object]]) -> Sequence[tuple[str, object]]:
    """The same with the keys as the flight recorder keeps them. Raises UsageError where it keeps none."""
    live = workspace.rollouts.current(model)
    version = workspace.versions.resolve(model) if live is None else workspace.versions.get(model, live.version)
    contract = parse(workspace.versions.read(version, "contract.toml").decode())
    if contract.redacted.get(contract.id_column or "") == "drop":
        raise UsageError(f"the recorded rows of {model} have no key: contract.toml drops {contract.id_column}. Tell "
                         "labels by prediction ids, or let it be hashed: trimtab contract edit "
                         f"{contract.id_column} --log hash")
    return [(str(key_of(key, contract, lambda: workspace.redaction)), value) for key, value in told]
