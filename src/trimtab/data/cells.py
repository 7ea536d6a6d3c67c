"""What does the text of a cell mean?  One stated rule for every reader of text.

- Surrounding blanks do not count. Missing: an empty cell, NA, N/A, n/a, #N/A, <NA>, null, NULL, Null, None, NaN, nan.
- A column is **integer** where every value is one (`-12`, at most 64 bits) and none has a leading zero: `007` is a
  name, so such a column stays text. **number** where every value is a decimal (`1.5`, `1e-3`, `inf`). **boolean**
  where every value is true or false in one of the spellings true/True/TRUE. **datetime** where every value is an ISO
  date or time.
- Everything else is text. Thousands separators, decimal commas, percent and currency signs are not guessed: the column
  stays text, and a note says what it looks like.
"""

from __future__ import annotations

import re
from typing import Final

import polars as pl

from trimtab.data.moments import moment

MISSING: Final = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "null", "NULL", "Null", "None", "NaN", "nan")
NUMBER: Final = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?([iI]nf(inity)?|INF|Infinity)$"
INTEGER: Final = r"^[+-]?\d+$"
MOST_WRONG: Final = 0.02                       # share of the cells of a column of numbers that may be none
MOST_CODES: Final = 10                         # different numbers that may be codes
_FEWEST, _LOOK, _OFTEN = 20, 1000, 0.9
_ISO: Final = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?)?(Z|[+-]\d{2}:?\d{2})?$"
_PLAIN: Final = ((r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "%Y-%m-%d"),
                 (r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}$", "%Y-%m-%d %H:%M:%S"))
_LOOKS_LIKE: Final = (
    (r"^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$", "numbers with thousands separators (1,234.5)", "Write them without: 1234.5."),
    (r"^[+-]?\d{1,3}(\.\d{3})+,\d+$", "numbers with a decimal comma (1.234,5)", "Write them with a point: 1234.5."),
    (r"^[+-]?\d+,\d+$", "numbers with a decimal comma (3,14)", "Write them with a point: 3.14."),
    (r"^[+-]?\d+(\.\d+)?\s?[%％]$", "percentages (12%)", "Write them as numbers: 12 or 0.12."),
    (r"^[$€£¥￥]\s?[\d.,]+$|^[\d.,]+\s?[$€£¥￥元]$", "amounts of money", "Write the number alone."),
    (r"^\d{1,4}[/.年]\d{1,2}[/.月]\d{1,4}日?$", "dates, but not in ISO form", "Write them as 2026-03-31."),
)


def typed(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Every String column of `frame` under the rule above; other columns are taken as they are (NaN becomes missing).

    Returns the frame and notes for people.
    """
    columns: list[pl.Series] = []
    notes: list[str] = []
    for column in frame.iter_columns():
        if column.dtype == pl.String:
            made, note = meaning(column)
            notes += [note] if note else []
        else:
            made = column.fill_nan(None) if column.dtype == pl.Float64 else column
        columns.append(made)
    return pl.DataFrame(columns), tuple(notes)


def meaning(text: pl.Series) -> tuple[pl.Series, str]:
    """One column of text in the type that its values have, and a note ("" for none).

    >>> meaning(pl.Series("zip", ["007", "", "112"]))[0].to_list()
    ['007', None, '112']
    >>> meaning(pl.Series("n", ["7", "NA", " 112"]))[0].to_list()
    [7, None, 112]
    """
    clean = text.str.strip_chars()
    if (missing := clean.is_in(MISSING)).any():
        clean = clean.set(missing, None)
    first = clean.drop_nulls().head(1)
    if first.is_empty():
        return clean, ""
    shape = first.item()
    if re.match(r"[+-]?[\d.iI]", shape):
        if (whole := _whole(clean, shape)) is not None:
            return whole, ""
        if _all(clean, NUMBER) and not _all(clean, INTEGER):
            return clean.cast(pl.Float64).fill_nan(None), ""
    if shape.lower() in ("true", "false") and clean.str.to_lowercase().drop_nulls().is_in(["true", "false"]).all():
        return clean.str.to_lowercase() == "true", ""
    if re.match(_ISO, shape) and (moment := _moments(clean)) is not None:
        return moment, ""
    return clean, _note(clean)


def numbers(text: pl.Series, *, whole: bool) -> pl.Series:
    """The cells that are numbers, null where one is none; Int64 with `whole` where all of them are whole."""
    clean = text.str.strip_chars()
    made = clean.set(~clean.str.contains(NUMBER).fill_null(False), None).cast(pl.Float64, strict=False)
    known = made.drop_nulls()
    return made.cast(pl.Int64, strict=False) if whole and (known == known.round(0)).all() else made


def nearly_numbers(text: pl.Series) -> pl.Series | None:
    """The numbers of a column that only single cells keep from being one, null in those; None for any other column.

    Single cells: one, or at most 2% of those that are there. Names written in digits are no numbers: a column with a
    leading zero, or with at most 10 different numbers (codes: 1, 2, 3, A), stays what it is.

    >>> nearly_numbers(pl.Series("rate", [*map(str, range(20)), "n/a?"]))[-2:].to_list()
    [19, None]
    """
    there = text.drop_nulls()
    if there.len() < _FEWEST or not there.head(_LOOK).str.contains(NUMBER).mean() >= _OFTEN:    # type: ignore[operator]
        return None
    made = numbers(text, whole=True)
    wrong = there.len() - (text.len() - made.null_count())
    if not 0 < wrong <= max(1, MOST_WRONG * there.len()) or made.n_unique() <= MOST_CODES + 1:
        return None
    return None if there.str.contains(r"^[+-]?0\d").any() else made


def typical(head: pl.DataFrame) -> dict[str, pl.DataType]:
    """Types with which a CSV reader may read the whole file after it has seen `head` (all String).

    Only decimals are parsed while reading, which is sound because a cell that is none raises; all else is read as
    text and judged by `typed` on all of its values.
    """
    schema: dict[str, pl.DataType] = {}
    for column in head.iter_columns():
        made, _ = meaning(column)
        schema[column.name] = pl.Float64() if made.dtype == pl.Float64 else pl.String()
    return schema


def _whole(clean: pl.Series, shape: str) -> pl.Series | None:
    if not re.match(INTEGER, shape):
        return None
    made = clean.cast(pl.Int64, strict=False)
    if made.null_count() != clean.null_count() or clean.str.contains(r"^[+-]?0\d").any():
        return None
    return made


def _all(clean: pl.Series, pattern: str) -> bool:
    return bool(clean.str.contains(pattern).all())


def _moments(clean: pl.Series) -> pl.Series | None:
    """Datetime (microseconds, UTC meant), or None where some value is no ISO time. Parsed once per distinct value."""
    for pattern, form in _PLAIN:
        if _all(clean, pattern):
            made = clean.str.replace("T", " ").str.to_datetime(form, time_unit="us", strict=False)
            return made if made.null_count() == clean.null_count() else None
    distinct = clean.unique().drop_nulls()
    if not _all(distinct, _ISO):
        return None
    parsed = [moment(value) for value in distinct]
    if any(value is None for value in parsed):
        return None
    return clean.replace_strict(distinct, pl.Series(parsed, dtype=pl.Datetime("us")), return_dtype=pl.Datetime("us"))


def _note(clean: pl.Series) -> str:
    sample = clean.drop_nulls().head(1000)
    for pattern, what, do in _LOOKS_LIKE:
        if sample.str.contains(pattern).mean() >= 0.9:                  # type: ignore[operator]
            return f"{clean.name} looks like {what}; not guessed, read as text. {do}"
    return ""
