"""Does a request ask why, and what is it told?  (`"parameters": {"explain": true}`)

Answered and recorded first, like any other; then each row's terms are added. Never on the fast lane.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trimtab.doors.desk import Desk
from trimtab.doors.inference.asking import Rows
from trimtab.errors import Malformed, TooLarge
from trimtab.project.explaining import MOST_ROWS, explanations
from trimtab.registry.bundle import Bundle
from trimtab.serving.answering import Answer


def asks_why(parameters: Mapping[str, Any]) -> bool:
    """Raises Malformed where `explain` is neither true nor false."""
    wanted = parameters.get("explain", False)
    if not isinstance(wanted, bool):
        raise Malformed("parameters.explain is true or false", field="parameters.explain")
    return wanted


class Asked:
    """The rows of one request that asks why: `read` on their way to the engine, `told` once they are answered."""

    def __init__(self, desk: Desk, read: Callable[[Bundle], Rows]) -> None:
        self._desk, self._read, self._rows = desk, read, list[dict[str, object]]()

    def read(self, bundle: Bundle) -> Rows:
        """The rows. Raises TooLarge where they are more than are explained in one request."""
        self._rows = self._read(bundle)
        if len(self._rows) > MOST_ROWS:
            raise TooLarge(f"{len(self._rows):,} rows are to be explained, and {MOST_ROWS} is the most in one request; "
                           "split them")
        return self._rows

    def told(self, answer: Answer) -> list[dict[str, object] | None]:
        """An explanation a row, of the version that answered; None where a fallback answered instead."""
        bundle = self._desk.engine.bundle(answer.model, answer.version)
        return explanations(self._desk.explainer, bundle, answer.model, self._rows, answer.ids,
                            answer.prediction.values, answer.instead)
