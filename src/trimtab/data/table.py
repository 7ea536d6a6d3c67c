"""What came out of a source?  A frame, where it came from, and the rows that were set aside with their reasons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trimtab.canon import Digest

if TYPE_CHECKING:
    import polars as pl

SHOWN_TEXT = 200                               # characters of a quarantined row that are kept for people


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """One row that was set aside. `line` counts from 1: lines of the file, or rows where there are no lines."""

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

    @property
    def rows(self) -> int:
        """How many rows can be used."""
        return self.frame.height

    def with_bad(self, frame: pl.DataFrame, bad: tuple[BadRow, ...]) -> Table:
        """The same table with `frame` instead, and more rows set aside."""
        return replace(self, frame=frame, quarantined=self.quarantined + bad)


def without_missing_target(table: Table, target: str) -> Table:
    """Rows whose target is missing can't be learned from: they are set aside, each with its reason."""
    import polars as pl

    missing = table.frame[target].is_null()
    if not missing.any():
        return table
    bad = tuple(BadRow(line=row + 1, unit="row", reason=f"the target {target} is missing", text=_short(values))
                for row, values in zip(missing.arg_true(), table.frame.filter(missing).iter_rows(), strict=True))
    return table.with_bad(table.frame.filter(~pl.lit(missing)), bad)


def _short(values: tuple[object, ...]) -> str:
    text = ", ".join("" if value is None else str(value) for value in values)
    return text if len(text) <= SHOWN_TEXT else text[:SHOWN_TEXT] + "…"
