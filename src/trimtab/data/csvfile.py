"""Which table does this CSV text hold, and which of its lines are no rows?

Two paths, one meaning. A well-formed file goes straight through Polars. Polars refuses lines that are too long and
broken quotes, but fills short lines with missing values silently; those leave the last column missing, so a file whose
last column is complete has none, and otherwise the delimiters are counted. Whatever can't be trusted takes the second
path: Python's own `csv` looks at each record and sets the ragged ones aside with line number and reason.
"""

from __future__ import annotations

import csv
import io
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from trimtab.data import cells
from trimtab.data.table import SHOWN_TEXT, BadRow, Table
from trimtab.errors import DataUnreadable

DELIMITERS = (",", ";", "\t", "|")
SHOWN = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
WIDEST = 10_000                                # columns; a header beyond this is a transposed or broken file
_HEAD_ROWS = 10_000
_HEAD_BYTES = 1 << 16
_CHUNK_BYTES = 1 << 23
_BATCH_CELLS = 500_000                         # that the careful path holds as Python texts
_MOSTLY_BAD = 0.5                              # share of ragged lines from which the file, not the lines, is wrong


def parse(name: str, data: bytes) -> Table:
    """UTF-8 text without a byte-order mark → typed frame, rows set aside, notes. Raises DataUnreadable.

    >>> parse("x.csv", b"a,b\\n1,2\\n3\\n").quarantined
    (BadRow(line=3, reason='has 1 cell, the header has 2', text='3', unit='line'),)
    """
    if not data or data.isspace():
        raise DataUnreadable(f"{name} is empty: no header and no rows. The first line must name the columns.")
    delimiter = find_delimiter(name, data)
    header, _ = header_of(name, data, delimiter)
    frame = _fast(data, delimiter, header)
    if frame is None:
        table = _careful(name, data, delimiter, header)
    else:                                      # as many line ends as rows: each row has one line, the header the first
        simple = data.rstrip(b"\r\n").count(b"\n") == frame.height
        table = Table(frame=frame, source=name, lines=np.arange(2, frame.height + 2) if simple else None)
    if table.frame.is_empty():
        bad = table.quarantined
        raise DataUnreadable(f"{name} has a header ({_few(header)}) but no rows that can be used"
                             + (f"; the first of {len(bad)} bad lines: {bad[0]}" if bad else "") + ".")
    made, more = cells.typed(table.frame)
    if delimiter != ",":
        more = (f"cells are separated by a {SHOWN[delimiter]}", *more)
    return replace(table, frame=made, notes=(*table.notes, *more))


def find_delimiter(name: str, data: bytes) -> str:
    """The delimiter that the header uses; "," where there is one column.

    Raises DataUnreadable where the rows use another.

    >>> find_delimiter("x", b"a;b\\n1,5;2\\n")
    ';'
    """
    lines = _sample(data)
    first = _outside_quotes(lines[0])
    counts = {mark: first.count(mark) for mark in DELIMITERS}
    best = max(DELIMITERS, key=lambda mark: counts[mark])
    body = [_outside_quotes(line) for line in lines[1:21]]
    if body:
        rows = {mark: min(line.count(mark) for line in body) for mark in DELIMITERS}
        rival = max(DELIMITERS, key=lambda mark: rows[mark])
        if rows[rival] and not counts[rival] and not any(best in line for line in body):
            raise DataUnreadable(
                f"{name} mixes delimiters: its header is separated by {_said(best, counts)}, its rows by "
                f"{SHOWN[rival]}s. Use one delimiter in the whole file.")
        fitting = [m for m in DELIMITERS if counts[m] and all(line.count(m) == counts[m] for line in body)]
        if fitting and best not in fitting:
            best = max(fitting, key=lambda mark: counts[mark])
    return best if counts[best] else ","


def _said(mark: str, counts: dict[str, int]) -> str:
    return f"{SHOWN[mark]}s" if counts[mark] else "nothing"


def _sample(data: bytes) -> list[str]:
    text = data[:_HEAD_BYTES].decode(errors="replace")
    lines = text.splitlines() if len(data) <= _HEAD_BYTES else text.splitlines()[:-1] or [text]
    return [line for line in lines if line.strip()] or [""]


def _outside_quotes(line: str) -> str:
    return "".join(line.split('"')[::2])


def header_of(name: str, data: bytes, delimiter: str) -> tuple[list[str], int]:
    """Names of the columns, and the line (from 1) on which the header ends. Raises DataUnreadable."""
    reader = csv.reader(_lines(data), delimiter=delimiter, strict=True)
    try:
        header = next((record for record in reader if any(cell.strip() for cell in record)), [])
    except csv.Error as error:
        what = "a quote in it opens and never closes" if "unexpected end" in str(error) else _quotes(str(error))
        raise DataUnreadable(f"{name}: the header can't be read: {what}. Check its quotes.") from None
    if not header:
        raise DataUnreadable(f"{name} holds only empty cells: no header and no rows.")
    names = [cell.strip() for cell in header]
    if len(names) > WIDEST:
        raise DataUnreadable(f"{name}: the header has {len(names):,} columns, more than {WIDEST:,}. Perhaps the "
                             "table is transposed, or line ends are missing.")
    if empty := [place + 1 for place, cell in enumerate(names) if not cell]:
        raise DataUnreadable(f"{name}: the header's cell {_few(empty)} is empty (line {reader.line_num}). Give every "
                             "column a name; an index column written by pandas goes away with to_csv(index=False).")
    if twice := [cell for cell, count in Counter(names).items() if count > 1]:
        at = [place + 1 for place, cell in enumerate(names) if cell == twice[0]]
        raise DataUnreadable(f"{name}: the column name {twice[0]!r} appears {len(at)} times in the header (columns "
                             f"{_few(at)}). Rename all but one.")
    if len(names) > 1 and all(_is_number(cell) for cell in names):
        raise DataUnreadable(f"{name}: the first line holds only numbers ({_few(names)}), so the header is missing. "
                             "Add a first line that names the columns.")
    return names, reader.line_num


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _fast(data: bytes, delimiter: str, header: list[str]) -> pl.DataFrame | None:
    """The file by Polars alone; None where that can't be trusted."""
    plain = data.rstrip(b"\r\n") if data.endswith((b"\n\n", b"\r\n\r\n")) else data
    if plain[:1] in b"\r\n" or (b"\r" in plain[:_HEAD_BYTES] and b"\r\n" not in plain[:_HEAD_BYTES]):
        return None
    frame = None
    for words in ((), cells.MISSING[1:]):              # looking for "NA" in every cell costs a third; most have none
        try:
            head = _polars(plain, delimiter, header, words)
            frame = _polars(plain, delimiter, header, words, cells.typical(head))
            break
        except pl.exceptions.PolarsError:
            continue
    if frame is None or frame.width != len(header):
        return None
    if frame.is_empty() or not frame.to_series(-1).null_count():
        return frame
    return frame if _no_short_line(plain, delimiter, frame) else None


def _polars(data: bytes, delimiter: str, header: list[str], words: tuple[str, ...],
            schema: dict[str, pl.DataType] | None = None) -> pl.DataFrame:
    """The first rows as text where no schema is given, else all rows. words: what else than nothing is missing."""
    kinds = [schema.get(name, pl.String()) for name in header] if schema else None
    return pl.read_csv(data, separator=delimiter, new_columns=header, infer_schema=False, schema_overrides=kinds,
                       null_values=list(words) or None, n_rows=None if schema else _HEAD_ROWS)


def _no_short_line(data: bytes, delimiter: str, frame: pl.DataFrame) -> bool:
    """Polars refused long lines, so no line is short exactly if delimiters are as many as full lines hold."""
    found = _delimiters_outside_quotes(data, ord(delimiter)) if b'"' in data else data.count(delimiter.encode())
    return found == (frame.height + 1) * (frame.width - 1) and frame.width > 1


def _delimiters_outside_quotes(data: bytes, delimiter: int) -> int:
    """Sound where quotes are well formed (Polars read them): an even number of quotes lies before what is outside."""
    found, odd = 0, 0
    for start in range(0, len(data), _CHUNK_BYTES):
        part = np.frombuffer(data, dtype=np.uint8, count=min(_CHUNK_BYTES, len(data) - start), offset=start)
        inside = (np.cumsum(part == 34, dtype=np.uint8) + odd) & 1
        found += int(np.count_nonzero((part == delimiter) & (inside == 0)))
        odd = int(inside[-1])
    return found


def _careful(name: str, data: bytes, delimiter: str, header: list[str]) -> Table:
    """The file record by record, a batch of them at a time; ragged records are set aside."""
    width, started, blank, count, before = len(header), False, 0, 0, 0
    bad: list[BadRow] = []
    good: list[list[str]] = []
    frames, numbers, lines = [_texts(header, [])], array("q"), array("q")
    reader = csv.reader(_lines(data), delimiter=delimiter, strict=True)
    while True:
        line, problem = before + 1, ""
        try:
            record = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            record, problem = [], _quotes(str(error))
            if "unexpected end" in str(error):
                raise DataUnreadable(f"{name}, line {line}: a quote opens here and never closes. Close it, or double "
                                     'it inside a quoted cell ("").', line=line) from None
        before = reader.line_num
        if not problem and (not record or (width > 1 and len(record) == 1 and not record[0].strip())):
            blank += 1
            continue
        if not started:
            started = True
            continue
        count += 1
        if not problem and len(record) != width:
            problem = f"has {_cells(len(record))}, the header has {width}"
        if problem:
            bad.append(BadRow(line=line, reason=problem, text=delimiter.join(record)[:SHOWN_TEXT]))
            continue
        good.append(record)
        numbers.append(count)
        lines.append(line)
        if len(good) * width >= _BATCH_CELLS:
            frames.append(_texts(header, good))
            good.clear()
    if len(bad) > _MOSTLY_BAD * count and len(bad) > 1:
        raise DataUnreadable(f"{name}: {len(bad):,} of {count:,} lines don't fit the header of {width} columns; the "
                             f"first: {bad[0]}. Check the delimiter and the quotes.",
                             lines=[row.line for row in bad[:20]])
    return Table(frame=pl.concat([*frames, _texts(header, good)]), source=name, quarantined=tuple(bad),
                 notes=(f"{blank} blank line{'s' * (blank > 1)} skipped",) if blank else (),
                 numbers=np.array(numbers, dtype=np.int64), lines=np.array(lines, dtype=np.int64))


def _texts(header: list[str], records: list[list[str]]) -> pl.DataFrame:
    """Records as columns of text, which take a tenth of the room that Python's lists do."""
    return pl.DataFrame([pl.Series(name, [record[place] for record in records], dtype=pl.String)
                         for place, name in enumerate(header)])


def _lines(data: bytes) -> Iterator[str]:
    return iter(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline=""))


def _quotes(error: str) -> str:
    if "field larger" in error:
        return "a cell is longer than 131,072 characters"
    return "a quoted cell goes on after its closing quote"


def _cells(count: int) -> str:
    return f"{count} cell" + "s" * (count != 1)


def _few(values: list[str] | list[int]) -> str:
    shown = ", ".join(str(value) for value in values[:5])
    return shown + (", …" if len(values) > 5 else "")
