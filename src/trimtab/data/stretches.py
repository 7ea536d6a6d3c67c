"""How is a table of any size read as what `read_table` makes of it, a stretch at a time, in bounded memory?

Parquet is read by stretches of rows. A CSV file beyond 16 MB is cut at line ends outside quotes, and each stretch of
lines, its header before it, is read as a file of its own; so the types of a stretch are those of its own cells, and
whoever goes through one has the contract say which are meant (`pipeline.agreed`). Rows and lines keep their numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import polars as pl

from trimtab.data import csvfile, encodings
from trimtab.data.batches import Batches
from trimtab.data.readers import from_frame, read_table
from trimtab.data.table import Table
from trimtab.errors import DataUnreadable

ROWS: Final = 1 << 16                          # of a stretch, at most
STRETCH_BYTES: Final = 16 << 20                # of a CSV file
_PARQUET: Final = (".parquet", ".pq")
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_MARK: Final = b"\xef\xbb\xbf"


def stretches(source: Any, *, columns: Sequence[str] = (), rows: int = ROWS) -> Iterator[Table]:
    """The table in stretches of at most `rows` rows, in order; a bad line comes with the stretch that it was read with.

    source: as `read_table` takes it. columns: of a Parquet file only these. Raises what `read_table` raises; for what
    lies far down in a file, when it is reached.
    """
    for table in _tables(source, columns):
        if table.rows <= rows:
            yield table
            continue
        for start in range(0, table.rows, rows):
            yield replace(table, frame=table.frame.slice(start, rows), numbers=_cut(table.numbers, start, rows)
                          if table.numbers is not None else np.arange(start + 1, min(start + rows, table.rows) + 1),
                          lines=_cut(table.lines, start, rows), quarantined=() if start else table.quarantined)


def _tables(source: Any, columns: Sequence[str]) -> Iterator[Table]:
    path = Path(source) if isinstance(source, str | Path) else None
    if isinstance(source, pl.LazyFrame) or (path is not None and path.suffix.lower() in _PARQUET and path.is_file()):
        batches, before = Batches(source, columns=columns), 0
        for frame in batches:
            yield replace(from_frame(frame, source=batches.name), encoding="parquet",
                          numbers=np.arange(before + 1, before + frame.height + 1))
            before += frame.height
    elif path is not None and path.is_file() and path.stat().st_size > STRETCH_BYTES and _has_lines(path):
        yield from _csv(path)
    else:
        yield read_table(source)


def _has_lines(path: Path) -> bool:
    """Is it a text of lines that can be told from their bytes?"""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    encodings.refuse_other_formats(path.name, head[:64])
    return not head.startswith((*_UTF16, b"PAR1")) and b"\n" in head and b"\0" not in head


def _csv(path: Path) -> Iterator[Table]:
    with path.open("rb") as file:
        header, body, lines, rows = b"", b"", 0, 0
        while True:
            body, rest = _whole_lines(file, body)
            if not body:
                return
            try:
                text, encoding = encodings.to_utf8(path.name, body)
                if not header:
                    header = _header(path.name, text)
                    table, own = csvfile.parse(path.name, text), 0
                else:
                    own = header.count(b"\n")
                    table = csvfile.parse(path.name, header + text)
            except DataUnreadable as problem:
                where = f" (in the stretch that begins at line {lines + 1:,})" if lines else ""
                raise DataUnreadable(f"{problem}{where}") from None
            read = table.rows + len(table.quarantined)
            yield replace(
                table, encoding=encoding, lines=None if table.lines is None else table.lines + (lines - own),
                numbers=(np.arange(1, table.rows + 1) if table.numbers is None else table.numbers) + rows,
                quarantined=tuple(replace(bad, line=bad.line + (lines - own if bad.unit == "line" else rows))
                                  for bad in table.quarantined))
            rows, lines, body = rows + read, lines + body.count(b"\n"), rest


def _whole_lines(file: BinaryIO, begun: bytes) -> tuple[bytes, bytes]:
    """(whole lines, what was read of the next), all that is left where the file ends. begun: left by the last call."""
    held = begun
    while more := file.read(STRETCH_BYTES):
        held += more
        if end := _last_line_end(held):
            return held[:end], held[end:]
    return (held if held.strip() else b""), b""


def _last_line_end(data: bytes) -> int:
    """Where the last line ends that ends outside quotes; 0 where none does."""
    if data.count(b'"') % 2 == 0 and b'"' not in data[(end := data.rfind(b"\n") + 1):]:
        return end
    marks = np.frombuffer(data, dtype=np.uint8)
    inside = np.cumsum(marks == 34, dtype=np.uint8) & 1
    found = np.flatnonzero((marks == 10) & (inside == 0))
    return int(found[-1]) + 1 if len(found) else 0


def _header(name: str, text: bytes) -> bytes:
    """The lines up to the end of the header."""
    _, last = csvfile.header_of(name, text, csvfile.find_delimiter(name, text))
    lines = text.split(b"\n", last)
    return b"\n".join(lines[:last]) + b"\n"


def _cut(values: Any, start: int, rows: int) -> Any:
    return None if values is None else values[start:start + rows]
