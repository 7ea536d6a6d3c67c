"""What was asked, and what was answered?  (the flight recorder's reading half)

Reads segments while others write and close them. A frame has a row a prediction, in the order of ids, which is that of
time. What was computed beside an answer and did not answer (stage "shadow") is left out unless asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trimtab import canon, clock
from trimtab.errors import NotFound
from trimtab.ids import prediction_moment
from trimtab.traffic import closing, segments
from trimtab.traffic.segments import Record, Row

if TYPE_CHECKING:
    import polars as pl

    from trimtab.traffic.labels import Labels

Named = tuple[Sequence[str], Sequence[str]]    # ids of predictions, keys
_MOMENT_DIGITS = 12                            # of an id: "p-" and its milliseconds
_GRACE = timedelta(minutes=2)                  # between naming a prediction and opening the segment that it is in


class Traffic:
    """The recorded predictions of one workspace, in `folder` (`<workspace>/traffic`)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def frame(self, *, model: str | None = None, version: int | None = None, since: datetime | None = None,
              until: datetime | None = None, limit: int | None = None, shadows: bool = False,
              batches: bool = False, columns: Sequence[str] = (), among: Named | None = None) -> pl.DataFrame:
        """A row a prediction, oldest first; `since` and `until` are inclusive, `limit` keeps the newest.

        among: only predictions with one of these ids, or of these keys.
        shadows: also rows that were computed along, under the ids of the answers, failed ones (verdict) among them.
        batches: also rows that `trimtab score --log` recorded; they are no live traffic.
        columns: only these, of which a large log reads faster; none: all.
        Columns: id, at, model, endpoint, version, stage, verdict, batch, position, latency_us, key (text or integers);
        features, output, probabilities, redacted as JSON text, since models differ in theirs; subject; why.
        """
        found = self._lazy(model, version, since, until, shadows, among, batches)
        found = (found.top_k(limit, by="id") if limit else found).sort("id", "version")
        return (found.select(columns) if columns else found).collect()

    def count(self, *, model: str | None = None, version: int | None = None, since: datetime | None = None,
              until: datetime | None = None, batches: bool = False) -> int:
        """How many predictions `frame` would hold."""
        import polars as pl

        return int(self._lazy(model, version, since, until, batches=batches).select(pl.len()).collect().item())

    def pairs(self, model: str, endpoint: str, champion: int, challenger: int, since: datetime,
              until: datetime | None = None) -> pl.DataFrame:
        """The rows that both versions computed, whoever answered, oldest first; none that a fallback answered.

        Columns: id, at, batch, key, features (JSON text); output and probabilities (JSON text) of both, with
        _champion and _challenger after their names.
        """
        import polars as pl

        found = self._lazy(model, None, since, until, shadows=True).filter(
            pl.col("endpoint") == endpoint, pl.col("verdict") == segments.KEPT)
        told = ("output", "probabilities")
        one, other = (found.filter(pl.col("version") == number) for number in (champion, challenger))
        return one.select("id", "at", "batch", "key", "features", *(pl.col(name).alias(f"{name}_champion")
                                                                    for name in told)).join(
            other.select("id", *(pl.col(name).alias(f"{name}_challenger") for name in told)), on="id").sort(
            "id").collect()

    def known(self, model: str, column: Literal["id", "key"], names: Sequence[str]) -> int:
        """How many of the names are a recorded prediction's id, or the key of one."""
        import polars as pl

        wanted = pl.Series("wanted", list(dict.fromkeys(names)), dtype=pl.String)
        found = self._lazy(model, None, None, None, batches=True).select(pl.col(column).filter(
            pl.col(column).is_in(wanted.implode())).n_unique())
        return int(found.collect().item())

    def find(self, prediction: str) -> tuple[Record, Row]:
        """One prediction by its id, with its request. Raises NotFound."""
        moment = prediction_moment(prediction)
        not_after = "" if moment is None else clock.to_text(moment + _GRACE)
        written, tables = self._parts()
        for path in reversed(written):
            try:
                record = segments.find(path, prediction, not_after)
            except FileNotFoundError:          # closed just now
                tables.append(path.with_suffix(".parquet"))
                continue
            if record is not None:
                return record, next(row for row in record.rows if row.id == prediction)
        if tables and (told := _closed(tables, prediction)) is not None:
            return told, next(row for row in told.rows if row.id == prediction)
        raise NotFound(f"no prediction {prediction[:40]!r} is recorded in this workspace")

    def together(self, predictions: Sequence[str]) -> Iterator[Record]:
        """The answered requests that these predictions came in, whole, oldest first; unknown ids are left out."""
        import polars as pl

        batches = self._lazy(None, None, None, None, among=(predictions, ())).select(pl.col("batch").unique()).collect()
        if batches.is_empty():
            return
        names = batches["batch"].sort()
        until = names[-1][:_MOMENT_DIGITS] + "~"               # a request's ids are of one moment
        found = self._lazy(None, None, None, None).filter(
            pl.col("id").is_between(pl.lit(names[0]), pl.lit(until)) & pl.col("batch").is_in(names.implode()))
        yield from closing.records(found.sort("batch", "position").collect().iter_rows(named=True))

    def _lazy(self, model: str | None, version: int | None, since: datetime | None,
              until: datetime | None, shadows: bool = False, among: Named | None = None,
              batches: bool = False) -> pl.LazyFrame:
        import polars as pl

        begin = clock.to_text(since) if since else ""
        end = clock.to_text(until) if until else "9"
        kept = (pl.col("at") >= begin) & (pl.col("at") <= end)
        if model is not None:
            kept &= pl.col("model") == model
        if version is not None:
            kept &= pl.col("version") == version
        hidden = [*[segments.SHADOW][shadows:], *[segments.BATCH][batches:]]
        if hidden:
            kept &= ~pl.col("stage").is_in(hidden)
        if among is not None:
            kept &= _among(*among)
        written, tables = self._parts()
        rows = [closing.flat(record, row) for record in _written(written, tables)
                if (model is None or record.model == model) and begin <= record.at <= end
                and (version is None or record.version == version)
                and record.stage not in hidden for row in record.rows]
        found = [pl.LazyFrame(rows, schema=dict(closing.SCHEMA)).filter(kept)]
        found += [pl.scan_parquet(table).filter(kept) for table in tables]
        return pl.concat(found, how="diagonal")                # a table of before has no column "why"

    def _parts(self) -> tuple[list[Path], list[Path]]:
        """(segments that are not closed, tables of those that are); where both are, the table counts.

        Looked for in this order, so that none is overlooked that is closed meanwhile.
        """
        written = sorted(self._folder.glob("*/*.log"))
        tables = sorted(self._folder.glob("*/*.parquet"))
        closed = set(tables)
        return [path for path in written if path.with_suffix(".parquet") not in closed], tables


def _among(ids: Sequence[str], keys: Sequence[str]) -> pl.Expr:
    """Ids are in the order of time, and tables in that of ids: bounds leave most of them unread."""
    import polars as pl

    found = pl.lit(False)
    if ids:
        found = pl.col("id").is_between(pl.lit(min(ids)), pl.lit(max(ids))) & pl.col("id").is_in(list(ids))
    return found | pl.col("key").is_in(list(keys)) if keys else found


def _written(written: list[Path], tables: list[Path]) -> Iterator[Record]:
    """The records of segments that are not closed; one that was closed meanwhile is added to `tables`."""
    for path in written:
        try:
            yield from segments.read(path)
        except FileNotFoundError:
            tables.append(path.with_suffix(".parquet"))


def _closed(tables: list[Path], prediction: str) -> Record | None:
    import polars as pl

    tables_of = pl.scan_parquet(tables, schema=pl.Schema(closing.SCHEMA), missing_columns="insert").filter(
        pl.col("stage") != segments.SHADOW)
    one = tables_of.filter(pl.col("id") == prediction).select("batch").collect()
    if one.is_empty():
        return None
    together = tables_of.filter(pl.col("batch") == one["batch"][0]).sort("position").collect()
    return next(closing.records(together.iter_rows(named=True)))


def with_labels(frame: pl.DataFrame, labels: Labels, model: str) -> pl.DataFrame:
    """The frame with `label` (JSON text) and `label_at`, null where no truth is known; a prediction's own id wins."""
    import polars as pl

    ids, keys = frame["id"].to_list(), frame["key"].to_list()
    by_id = labels.of(model, "prediction", ids)
    by_key = labels.of(model, "key", [key for key in keys if key is not None])
    found = [by_id.get(name) or by_key.get(key or "") for name, key in zip(ids, keys, strict=True)]
    return frame.with_columns(
        pl.Series("label", [None if one is None else canon.dumps(one.value).decode() for one in found],
                  dtype=pl.String),
        pl.Series("label_at", [None if one is None else one.at for one in found], dtype=pl.String))


def shown(row: Mapping[str, Any]) -> dict[str, object]:
    """A row of `frame` as every JSON door shows it."""
    told = {name: value for name, value in row.items() if name != "subject"}
    return told | {name: canon.loads(told[name]) for name in ("features", "output", "probabilities", "redacted")}


def row_json(record: Record, row: Row) -> dict[str, object]:
    """A prediction as every JSON door shows it."""
    return {"id": row.id, "at": record.at, "model": record.model, "endpoint": record.endpoint,
            "version": record.version, "stage": record.stage, "verdict": record.verdict, "batch": record.batch,
            "position": row.position, "latency_us": record.latency_us, "key": row.key, "features": row.features,
            "output": row.output, "probabilities": row.probabilities, "redacted": list(row.redacted),
            "why": row.why}
