"""What does the project's own `features:transform` make of the checked columns?

It gets a Polars frame of the contract's features and gives one with as many rows: the same call is made in serving, so
each row must come out the same alone as in company. The columns that it makes get a contract of their own, inferred.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.data.contract import Contract
from trimtab.errors import CheckFailed, ConfigInvalid
from trimtab.pipeline.custom import call, load_function

if TYPE_CHECKING:
    import polars as pl

_TRIED_ALONE = 3


def transformed(frame: pl.DataFrame, contract: Contract, reference: str, root: Path,
                task: str) -> tuple[pl.DataFrame, Contract]:
    """(the made columns with the target, their contract).

    frame: checked raw columns. Raises ConfigInvalid when the function is not there, raises, or gives no frame of as
    many rows, CheckFailed when a row comes out otherwise alone than among the others.
    """
    from trimtab.data.infer import infer_contract
    from trimtab.data.readers import from_frame

    function = load_function(reference, root)
    raw = frame.select([column.name for column in contract.features])
    made = apply(function, reference, raw)
    _same_alone(function, reference, raw, made)
    target = contract.target
    if target.name in made.columns:
        raise ConfigInvalid(f"{reference} made a column named like the target ({target.name}); it is not there when "
                            "the model serves. Name it otherwise, or leave it out", key=reference)
    table = from_frame(made.with_columns(frame[target.name]), source=reference).frame
    inferred = infer_contract(table, target=target.name, task=task)  # type: ignore[arg-type]
    may_miss = any(column.missing for column in contract.features)
    columns = tuple(
        target if column.name == target.name else
        replace(column, role="feature", missing=column.missing or may_miss, min=None, max=None, unseen=True, confirm="")
        if column.type != "text" else replace(column, role="ignored") for column in inferred.columns)
    if not any(column.role == "feature" for column in columns):
        raise ConfigInvalid(f"{reference} made no column that a model can use ({', '.join(made.columns[:8])})",
                            key=reference)
    return table, replace(inferred, columns=columns)


def apply(function: Callable[..., Any], reference: str, raw: pl.DataFrame) -> pl.DataFrame:
    """The function's frame for these rows. Raises ConfigInvalid when it is no frame of as many rows."""
    import polars as pl

    made = call(reference, function, raw)
    if isinstance(made, pl.LazyFrame):
        made = made.collect()
    if not isinstance(made, pl.DataFrame):
        raise ConfigInvalid(f"{reference} gave a {type(made).__name__}, not a Polars data frame; end it with return "
                            "frame.with_columns(…)", key=reference)
    if made.height != raw.height:
        raise ConfigInvalid(f"{reference} made {made.height:,} rows of {raw.height:,}; it must keep every row, in "
                            "order", key=reference)
    return made


def _same_alone(function: Callable[..., Any], reference: str, raw: pl.DataFrame, made: pl.DataFrame) -> None:
    """In serving a row comes alone: try some."""
    for row in range(min(_TRIED_ALONE, raw.height)):
        alone = apply(function, reference, raw[row:row + 1])
        together = made[row:row + 1]
        if alone.columns != together.columns:
            raise CheckFailed(f"{reference} makes other columns of one row ({', '.join(alone.columns[:8])}) than of "
                              "all; a served row would not fit the model")
        for name in alone.columns:
            if not _equal(alone[name][0], together[name][0]):
                raise CheckFailed(
                    f"{reference}: {name} of row {row + 1} is {together[name][0]} among all rows and {alone[name][0]} "
                    "alone, so it would be another when the model serves. Compute it from the row itself; what needs "
                    "other rows (means, ranks, lags) belongs into the data")


def _equal(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or abs(one - other) <= 1e-9 * max(abs(one), abs(other)) or (one != one and other != other)
    return one == other
