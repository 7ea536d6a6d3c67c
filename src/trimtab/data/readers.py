"""How does a source become a table?  (CSV, Parquet, a Polars or pandas frame, an SQL query)

Every source ends as a `Table` in six types: Int64, Float64, Boolean, String, Datetime("us") and nothing else; missing
values are null. What can't be read is a DataUnreadable that says what to do; single bad rows are set aside, never
dropped.
"""

from __future__ import annotations

import difflib
import os
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from trimtab import canon
from trimtab.config import SqlSource
from trimtab.data import cells, csvfile, encodings
from trimtab.data.table import Table
from trimtab.errors import DataUnreadable, MissingExtra, UsageError

if TYPE_CHECKING:
    import pandas

_TEXT = (".csv", ".tsv", ".txt", ".tab", ".dat")
_PARQUET = (".parquet", ".pq")
_SECRET = re.compile(r"//[^@/]*@")


def read_table(source: str | Path | pl.DataFrame | pl.LazyFrame | pandas.DataFrame | SqlSource, *,
               root: Path | None = None) -> Table:
    """A source as a table of typed columns, with its provenance.

    source: path of a CSV/TSV or Parquet file (relative to `root`, the project's folder), a Polars or pandas frame, or
    an SQL query. Raises DataUnreadable (not there, not a table, not decodable), UsageError, MissingExtra.
    """
    if isinstance(source, SqlSource):
        return _sql(source, root)
    if isinstance(source, pl.LazyFrame):
        return from_frame(source.collect())
    if isinstance(source, pl.DataFrame):
        return from_frame(source)
    if isinstance(source, str | Path):
        return _file(Path(root or ".", source).expanduser())
    if type(source).__module__.split(".")[0] == "pandas":
        return from_pandas(source)
    raise UsageError(f"can't read a table from {type(source).__name__}; give a path, a Polars or pandas data frame, or "
                     'data = { sql = "…", url = "…" }')


def from_frame(frame: pl.DataFrame, *, source: str = "data frame") -> Table:
    """A Polars frame as a table. Raises DataUnreadable naming the column whose type holds no single values."""
    if not frame.width or not frame.height:
        raise DataUnreadable(f"{source} has {frame.height} rows × {frame.width} columns; it needs one of each.")
    if blank := [place + 1 for place, name in enumerate(frame.columns) if not name.strip()]:
        raise DataUnreadable(f"{source}: column {blank[0]} has no name. Give every column a name.")
    return Table(frame=pl.DataFrame([_plain(column, source) for column in frame.iter_columns()]), source=source)


def from_pandas(frame: Any, *, source: str = "data frame") -> Table:
    """A pandas frame as a table; its index is not read, nullable integers stay integers, NaN is missing.

    Float columns that hold only whole numbers and at least one NaN are what pandas makes of integers with missing
    values, and are read as integers; a note says so.
    """
    names = [str(name) for name in frame.columns]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataUnreadable(f"{source}: the column name {twice[0]!r} appears {Counter(names)[twice[0]]} times. "
                             "Rename all but one.")
    columns: list[pl.Series] = []
    notes: list[str] = []
    for place, name in enumerate(names):
        values = frame.iloc[:, place]
        try:
            made = _from_pandas_column(name, values)
        except (TypeError, ValueError, pl.exceptions.PolarsError, OverflowError):
            raise DataUnreadable(f"{source}: column {name!r} mixes kinds of values ({values.dtype}). Give it one type, "
                                 f"for example df[{name!r}].astype(str).") from None
        if made.dtype == pl.Float64 and made.null_count() and _is_whole(made):
            made = made.cast(pl.Int64)
            notes.append(f"{name}: whole numbers with missing values (pandas holds them as floats), read as integers")
        columns.append(made)
    table = from_frame(pl.DataFrame(columns), source=source)
    return Table(frame=table.frame, source=source, notes=tuple(notes))


def _from_pandas_column(name: str, values: Any) -> pl.Series:
    kind = getattr(values.dtype, "kind", "O")
    if kind in "iufb" and type(values.dtype).__module__.startswith("numpy"):
        made = pl.Series(name, values.to_numpy())
        return made.fill_nan(None) if kind == "f" else made
    if kind == "M":
        if getattr(values.dtype, "tz", None) is not None:
            values = values.dt.tz_convert("UTC").dt.tz_localize(None)
        return pl.Series(name, values.to_numpy().astype("datetime64[us]"))
    missing = values.isna().to_numpy()
    known = [None if gone else _item(value) for value, gone in zip(values, missing, strict=True)]
    return pl.Series(name, known, strict=True)


def _item(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _is_whole(column: pl.Series) -> bool:
    known = column.drop_nulls()
    return bool(known.len()) and bool(known.is_finite().all()) and bool((known == known.round(0)).all()) \
        and bool((known.abs() <= 2**53).all())


def _plain(column: pl.Series, source: str) -> pl.Series:
    """One column in one of the six types."""
    kind = column.dtype
    if kind in (pl.Int64, pl.Boolean):
        return column
    if kind == pl.Float64 or kind == pl.Float32 or kind.is_decimal():
        return column.cast(pl.Float64).fill_nan(None)
    if kind.is_integer():
        made = column.cast(pl.Int64, strict=False)
        if made.null_count() != column.null_count():
            raise DataUnreadable(f"{source}: column {column.name!r} holds integers beyond 64 bits. Read it as text.")
        return made
    if kind == pl.String:
        return column.set(column == "", None) if (column == "").any() else column
    if kind in (pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    if kind == pl.Date:
        return column.cast(pl.Datetime("us"))
    if isinstance(kind, pl.Datetime):
        utc = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if kind.time_zone else column
        return utc.cast(pl.Datetime("us"))
    if kind == pl.Null:
        return column.cast(pl.String)
    raise DataUnreadable(f"{source}: column {column.name!r} has the type {kind}, which holds no single numbers, texts "
                         "or times. Split it into plain columns, or leave it out.")


def _file(path: Path) -> Table:
    if path.is_dir():
        raise DataUnreadable(f"{path.name or path} is a folder, not a file. Name one CSV or Parquet file in it.")
    if not path.exists():
        raise DataUnreadable(f"there is no file {path.name!r} in {_folder(path)}.{_near(path)}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataUnreadable(f"{path.name} can't be read: {error.strerror}. Check its permissions.") from None
    name = path.name
    if data.startswith(b"PAR1") or path.suffix.lower() in _PARQUET:
        table = _parquet(name, data)
        return Table(frame=table.frame, source=name, size_bytes=len(data), byte_digest=canon.digest_bytes(data),
                     encoding="parquet")
    if path.suffix.lower() not in _TEXT and path.suffix:
        encodings.refuse_other_formats(name, data[:64])
        raise DataUnreadable(f"{name}: files ending in {path.suffix} are not read. Give CSV, TSV or Parquet.")
    encodings.refuse_other_formats(name, data[:64])
    text, encoding = encodings.to_utf8(name, data)
    with ThreadPoolExecutor(1) as beside:
        digest = beside.submit(canon.digest_bytes, data)
        table = csvfile.parse(name, text)
    return replace(table, size_bytes=len(data), byte_digest=digest.result(), encoding=encoding)


def _near(path: Path) -> str:
    """Files beside it whose names are close, or the tables that are there."""
    if not path.parent.is_dir():
        return " The folder does not exist either."
    there = sorted(p.name for p in path.parent.iterdir() if p.suffix.lower() in (*_TEXT, *_PARQUET))
    if close := difflib.get_close_matches(path.name, there, n=3, cutoff=0.6):
        return f" Did you mean {' or '.join(close)}?"
    return f" The tables there: {', '.join(there[:5])}." if there else ""


def _parquet(name: str, data: bytes) -> Table:
    try:
        frame = pl.read_parquet(data)
    except (pl.exceptions.PolarsError, OSError) as error:
        first = str(error).splitlines()[0][:120]
        raise DataUnreadable(f"{name} is not a readable Parquet file ({first}). Write it again.") from None
    return from_frame(frame, source=name)


def _sql(source: SqlSource, root: Path | None) -> Table:
    """Rows of a query, in memory. The URL's secret is never part of a message."""
    import sqlalchemy as sa

    url = source.url
    if url.startswith("$"):
        url = os.environ.get(name := url[1:].strip("{}"), "")
        if not url:
            raise UsageError(f"the environment variable {name} is not set; data.url names it as {source.url!r}")
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise UsageError("data.url is no database URL; write sqlite:///file.db, postgresql://host/name, or $NAME of an "
                         "environment variable") from None
    kind = parsed.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise UsageError(f"data.url: {kind} databases are not read; sqlite:// and postgresql:// are")
    if kind == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    elif parsed.database and parsed.database != ":memory:":
        file = Path(root or ".", parsed.database)
        if not file.exists():
            raise DataUnreadable(f"there is no database file {file.name!r} in {file.parent}")
        parsed = parsed.set(database=str(file))
    label = f"SQL query on {kind} {Path(parsed.database or 'memory').name}"
    try:
        engine = sa.create_engine(parsed)
    except ModuleNotFoundError:
        raise MissingExtra("reading from PostgreSQL needs psycopg: pip install 'trimtab[postgres]'") from None
    try:
        with engine.connect() as connection:
            result = connection.execute(sa.text(source.sql))
            if not result.returns_rows:
                raise UsageError("data.sql returns no rows: it must be a SELECT")
            names, rows = list(result.keys()), result.fetchall()
    except sa.exc.SQLAlchemyError as error:
        said = _SECRET.sub("//…@", str(getattr(error, "orig", None) or error).splitlines()[0])[:200]
        raise DataUnreadable(f"{label} failed: {said}. Check data.sql and data.url.") from None
    finally:
        engine.dispose()
    return _from_rows(label, names, [tuple(row) for row in rows])


def _from_rows(label: str, names: list[str], rows: list[tuple[Any, ...]]) -> Table:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataUnreadable(f"{label} returns the column {twice[0]!r} twice. Give each an alias: … AS another_name.")
    if not rows:
        raise DataUnreadable(f"{label} returned no rows.")
    columns = []
    for place, name in enumerate(names):
        values = [row[place] for row in rows]
        kinds = {type(value) for value in values if value is not None}
        if kinds == {int, float}:
            values = [None if value is None else float(value) for value in values]
        try:
            columns.append(pl.Series(name, values, strict=True))
        except (TypeError, pl.exceptions.PolarsError, OverflowError):
            said = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise DataUnreadable(f"{label}: column {name!r} mixes kinds of values ({said}). CAST it in the "
                                 "query.") from None
    table = from_frame(pl.DataFrame(columns), source=label)
    made, notes = _iso_times(table.frame)
    return Table(frame=made, source=label, notes=notes)


def _iso_times(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """SQLite has no type for times: text columns that hold only ISO times become times."""
    made = []
    for column in frame.iter_columns():
        moments = cells.meaning(column)[0] if column.dtype == pl.String else column
        made.append(moments if isinstance(moments.dtype, pl.Datetime) else column)
    return pl.DataFrame(made), ()


def _folder(path: Path) -> str:
    return "this folder" if path.parent.resolve() == Path.cwd() else str(path.parent)
