"""Does a version answer at all?  Asked before it goes live, so that the first request finds lazy parts loaded."""

from __future__ import annotations

from typing import Any

import numpy as np

from trimtab.data.contract import Column
from trimtab.errors import CheckFailed, TrimtabError
from trimtab.registry.bundle import Bundle


def warm(bundle: Bundle) -> None:
    """One prediction of a row from inside the contract: loads lazy parts and shows that it answers.

    Raises CheckFailed where it does not give one finite answer.
    """
    row = np.array([[_inside(column) for column in bundle.contract.features]], dtype=np.float64)
    try:
        answer = bundle.predict(row)
    except TrimtabError:
        raise
    except Exception as problem:              # an estimator may raise anything
        raise CheckFailed(f"{bundle.name} can't predict a row from the middle of its contract "
                          f"({type(problem).__name__}: {str(problem)[:120]}); it was not put live") from problem
    if len(answer.values) != 1 or not _finite(answer.values[0]):
        raise CheckFailed(f"{bundle.name} answers a row from the middle of its contract with "
                          f"{str(answer.values)[:60]}; it was not put live")


def _inside(column: Column) -> float:
    low, high = column.min, column.max
    if column.type in ("category", "boolean"):
        return 0.0
    if low is not None and high is not None:
        middle = low + (high - low) / 2
        return float(round(middle)) if column.type == "integer" else middle
    return low if low is not None else high if high is not None else 0.0


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or bool(np.isfinite(value))
