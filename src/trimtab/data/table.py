"""What came out of a source?  A frame, where it came from, and the rows that were set aside with their reasons."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trimtab.canon import Digest

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

SHOWN_TEXT = 200                               # characters of a quarantined row that are kept for people


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """One row that was set aside. `line` counts from 1: lines of a text file, else rows of the source."""

    line: int
    reason: str
    text: str = ""
    unit: str = "line"                         # "line" or "row": what `line` counts

    def __str__(self) -> str:
        return f"{self.unit} {self.line}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A frame in trimtab's own six types, with its provenance.

    frame: columns of Int64, Float64, Boolean, String or Datetime("us", UTC is meant); missing is null, never NaN.
    """

    frame: pl.DataFrame
    source: str                                # what people call it: "data.csv"; never a secret
    size_bytes: int = 0                        # of the source; 0 where it is not a file
    byte_digest: Digest | None = None          # of the source's bytes; provenance, not identity
    encoding: str = ""                         # "utf-8", "gb18030", "utf-16-le" … for text files
    quarantined: tuple[BadRow, ...] = ()
    notes: tuple[str, ...] = ()                # what the reader did that a person may want to know

    numbers: NDArray[np.int64] | None = None   # of each row in the source, from 1; None: none of its rows was set aside
    lines: NDArray[np.int64] | None = None     # of each row in a text file, from 1; None where that is not known

    @property
    def rows(self) -> int:
        """How many rows can be used."""
        return self.frame.height

    def number(self, place: int) -> int:
        """What people call the row at `place` (from 0): its number in the source, rows that were set aside counted."""
        return place + 1 if self.numbers is None else int(self.numbers[place])

    def only(self, kept: pl.Series) -> Table:
        """The same table with the rows where `kept` is true; they keep their numbers and lines."""
        import numpy as np

        places = kept.arg_true().to_numpy()
        numbers = np.arange(1, self.rows + 1) if self.numbers is None else self.numbers
        return replace(self, frame=self.frame.filter(kept), numbers=numbers[places],
                       lines=None if self.lines is None else self.lines[places])

    def without(self, bad: pl.Series, reasons: Iterable[str]) -> Table:
        """The same table without the rows where `bad` is true, which are set aside for `reasons`, one a row."""
        if not bad.any():
            return self
        aside = []
        for place, reason, values in zip(bad.arg_true(), reasons, self.frame.filter(bad).iter_rows(), strict=False):
            line, unit = (self.number(place), "row") if self.lines is None else (int(self.lines[place]), "line")
            aside.append(BadRow(line=line, reason=reason, text=_short(values), unit=unit))
        return replace(self.only(~bad), quarantined=(*self.quarantined, *aside))


def without_missing_target(table: Table, target: str) -> Table:
    """Rows whose target is missing can't be learned from: they are set aside, each with its reason."""
    return table.without(table.frame[target].is_null(), itertools.repeat(f"the target {target} is missing"))


def _short(values: tuple[object, ...]) -> str:
    text = ", ".join("" if value is None else str(value) for value in values)
    return text if len(text) <= SHOWN_TEXT else text[:SHOWN_TEXT - 1] + "…"
