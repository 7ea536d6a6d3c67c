"""What was asked, and what was answered?  (the flight recorder's reading half)

Reads segments while others write them. A frame has a row a prediction, in the order of ids, which is the order of time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab import canon, clock
from trimtab.errors import NotFound
from trimtab.traffic.segments import Record, Row, read

if TYPE_CHECKING:
    import polars as pl

    from trimtab.traffic.labels import Labels


class Traffic:
    """The recorded predictions of one workspace, in `folder` (`<workspace>/traffic`)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def records(self, *, model: str | None = None, version: int | None = None, since: datetime | None = None,
                until: datetime | None = None) -> Iterator[Record]:
        """Answered requests of every writer, unordered; `since` and `until` are inclusive."""
        begin = clock.to_text(since) if since else ""
        end = clock.to_text(until) if until else "9"
        for path in sorted(self._folder.glob("*/*.log")):
            for record in read(path):
                if (model is None or record.model == model) and begin <= record.at <= end \
                        and (version is None or record.version == version):
                    yield record

    def frame(self, *, limit: int | None = None, **which: Any) -> pl.DataFrame:
        """A row a prediction, oldest first; `limit` keeps the newest. which: as `records` takes it.

        Columns: id, at, model, endpoint, version, stage, verdict, batch, position, latency_us, key (text or integers);
        features, output, probabilities as JSON text, since models differ in theirs.
        """
        import polars as pl

        rows = sorted((_flat(record, row) for record in self.records(**which) for row in record.rows),
                      key=lambda one: str(one["id"]))
        return pl.DataFrame(rows[-limit:] if limit else rows, schema=_SCHEMA)

    def find(self, prediction: str) -> tuple[Record, Row]:
        """One prediction by its id, with its request. Raises NotFound."""
        for record in self.records():
            for row in record.rows:
                if row.id == prediction:
                    return record, row
        raise NotFound(f"no prediction {prediction[:40]!r} is recorded in this workspace")


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


def row_json(record: Record, row: Row) -> dict[str, object]:
    """A prediction as every JSON door shows it."""
    return {"id": row.id, "at": record.at, "model": record.model, "endpoint": record.endpoint,
            "version": record.version, "stage": record.stage, "verdict": record.verdict, "batch": record.batch,
            "position": row.position, "latency_us": record.latency_us, "key": row.key, "features": row.features,
            "output": row.output, "probabilities": row.probabilities, "redacted": list(row.redacted)}


_SCHEMA: Any = {"id": str, "at": str, "model": str, "endpoint": str, "version": int, "stage": str, "verdict": str,
                "batch": str, "position": int, "latency_us": int, "key": str, "features": str, "output": str,
                "probabilities": str}


def _flat(record: Record, row: Row) -> dict[str, object]:
    told = row_json(record, row)
    return {name: canon.dumps(canon.finite(told[name])).decode() if name in ("features", "output", "probabilities")
            else told[name] for name in _SCHEMA}
