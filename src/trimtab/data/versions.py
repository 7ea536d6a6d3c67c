"""Which data was that?  Dataset versions: content by digest, its contract, its profile, a copy as Parquet.

The identity is the digest of the content (names, types, values, row order) over one byte layout that this module
defines and `content_digest` documents, so that neither Parquet writers nor the chunks of a frame matter. The digest
of the source's bytes is provenance.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from trimtab import clock as times
from trimtab.canon import Digest
from trimtab.clock import Clock
from trimtab.data import contract_toml
from trimtab.data.contract import Contract
from trimtab.data.profile import Sketch, from_json, profile, to_json
from trimtab.data.table import Table
from trimtab.errors import NotFound, UsageError
from trimtab.store.blobs import BlobStore, put_bytes, put_json, read_bytes, read_json
from trimtab.store.db import Database
from trimtab.store.journal import Journal
from trimtab.store.schema import datasets

FORMAT: Final = b"trimtab.dataset/1\n"
_TAGS: Final = {pl.Int64: b"i", pl.Float64: b"f", pl.Boolean: b"b", pl.String: b"s"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersion:
    """One dataset version. contract: digest of what it says; profile and parquet: digests of blobs."""

    digest: Digest
    rows: int
    columns: tuple[str, ...]
    source: str
    byte_digest: Digest | None
    contract: Digest
    profile: Digest
    parquet: Digest
    created_at: str
    created_by: str


class Datasets:
    """Records and loads the dataset versions of one workspace.

    Promises: recording the same content again changes nothing but, under another contract, which contract and profile
    belong to it; the row, its journal entry and its bytes are there together or not at all.
    """

    def __init__(self, db: Database, blobs: BlobStore, journal: Journal, clock: Clock) -> None:
        self._db, self._blobs, self._journal, self._clock = db, blobs, journal, clock

    def record(self, table: Table, contract: Contract, *, by: str) -> DatasetVersion:
        """Keep a table as a dataset version: its bytes, its profile, its contract."""
        digest = content_digest(table.frame)
        if (old := self._find(digest)) is not None and old.contract == contract.digest:
            return old
        with ThreadPoolExecutor(1) as beside:          # writing waits for the disk, sketching for the processor
            copied = beside.submit(lambda: old.parquet if old else put_bytes(self._blobs, _parquet(table.frame)))
            sketches = to_json(profile(table.frame, contract))
            parquet = copied.result()
        put_bytes(self._blobs, contract_toml.render(contract).encode())
        made = DatasetVersion(
            digest=digest, rows=table.rows, columns=tuple(table.frame.columns), source=table.source,
            byte_digest=table.byte_digest, contract=contract.digest, parquet=parquet,
            profile=put_json(self._blobs, sketches),
            created_at=times.to_text(self._clock.now()), created_by=by)
        try:
            with self._db.write() as conn:
                return self._keep(conn, made, by)
        except sa.exc.IntegrityError:              # another process recorded the same content at the same moment
            return self.get(digest)

    def get(self, digest: Digest | str) -> DatasetVersion:
        """The version with that digest, or the only one whose digest begins so. Raises NotFound, UsageError."""
        start = str(digest) if str(digest).startswith("sha256:") else f"sha256:{digest}"
        with self._db.read() as conn:
            begins = datasets.c.digest.startswith(start, autoescape=True)
            found = conn.execute(sa.select(datasets).where(begins).limit(2)).all()
        if not found:
            raise NotFound(f"there is no dataset version {start[:19]}")
        if len(found) > 1:
            raise UsageError(f"more than one dataset version begins with {start}; write more digits")
        return _version(found[0])

    def list(self) -> tuple[DatasetVersion, ...]:
        """All versions, the oldest first."""
        with self._db.read() as conn:
            found = conn.execute(sa.select(datasets).order_by(datasets.c.created_at, datasets.c.digest)).all()
        return tuple(_version(row) for row in found)

    def load(self, digest: Digest | str) -> pl.DataFrame:
        """The rows. Raises NotFound, BlobMissing, DigestMismatch."""
        return pl.read_parquet(read_bytes(self._blobs, self.get(digest).parquet))

    def profile(self, digest: Digest | str) -> dict[str, Sketch]:
        """The sketch of each column. Raises NotFound, BlobMissing, DigestMismatch, Malformed."""
        return from_json(read_json(self._blobs, self.get(digest).profile))

    def _find(self, digest: Digest) -> DatasetVersion | None:
        with self._db.read() as conn:
            found = conn.execute(sa.select(datasets).where(datasets.c.digest == digest)).one_or_none()
        return None if found is None else _version(found)

    def _keep(self, conn: Connection, made: DatasetVersion, by: str) -> DatasetVersion:
        found = conn.execute(sa.select(datasets).where(datasets.c.digest == made.digest)).one_or_none()
        body: dict[str, object] = {"rows": made.rows, "contract": made.contract, "profile": made.profile}
        if found is not None:
            old = _version(found)
            if old.contract == made.contract:
                return old
            conn.execute(datasets.update().where(datasets.c.digest == made.digest).values(
                contract=made.contract, profile=made.profile))
            self._journal.append(conn, kind="dataset.contract", model="", subject=made.digest, by=by,
                                 why="the same data under another contract", body=body)
            return _version(conn.execute(sa.select(datasets).where(datasets.c.digest == made.digest)).one())
        conn.execute(datasets.insert().values(
            digest=made.digest, rows=made.rows, columns=json.dumps(made.columns, ensure_ascii=False),
            source=made.source, source_digest=made.byte_digest, contract=made.contract, profile=made.profile,
            parquet=made.parquet, created_at=made.created_at, created_by=by))
        self._journal.append(conn, kind="dataset.record", model="", subject=made.digest, by=by, why="",
                             body={**body, "source": made.source, "source_digest": made.byte_digest,
                                   "parquet": made.parquet})
        return made


def content_digest(frame: pl.DataFrame) -> Digest:
    """SHA-256 over names, types, values and row order. About 0.2 s for 10⁶ rows × 20 columns.

    The layout, all numbers little-endian: `trimtab.dataset/1`, newline, rows (u64), columns (u64); then for each column
    the length of its name (u32), the name (UTF-8), a letter for the type, the number of missing values (u64), where
    there are any one bit a row (set: present; lowest bit first), and the values, 0 or empty where missing. i: int64.
    f: float64 (NaN counts as missing). b: one byte. t: int64 microseconds since 1970 UTC. s: one u32 byte length a
    row, then all bytes (UTF-8). Raises UsageError for a column of another type (`readers.from_frame` makes them).

    >>> content_digest(pl.DataFrame({"a": [1, 2]})) == content_digest(pl.DataFrame({"a": [1.0, 2.0]}))
    False
    """
    running = hashlib.sha256(FORMAT + struct.pack("<QQ", frame.height, frame.width))
    for column in frame.iter_columns():
        tag, parts = _bytes_of(column.fill_nan(None) if column.dtype == pl.Float64 else column)
        name = column.name.encode()
        running.update(struct.pack("<I", len(name)) + name + tag)
        for part in parts:
            running.update(part)
    return Digest("sha256:" + running.hexdigest())


def _bytes_of(column: pl.Series) -> tuple[bytes, list[bytes | memoryview]]:
    moment = isinstance(column.dtype, pl.Datetime)
    tag = b"t" if moment else next((letter for kind, letter in _TAGS.items() if column.dtype == kind), None)
    if tag is None:
        raise UsageError(f"column {column.name} has the type {column.dtype}; a dataset version holds Int64, Float64, "
                         "Boolean, String and Datetime. Read it with read_table first.")
    missing = column.null_count()
    parts: list[bytes | memoryview] = [struct.pack("<Q", missing)]
    if missing:
        parts.append(np.packbits(column.is_not_null().to_numpy(), bitorder="little").tobytes())
    if tag == b"s":
        text = column.fill_null("")
        parts.append(text.str.len_bytes().to_numpy().astype("<u4").tobytes())
        parts.append(str(text.str.join("").item()).encode() if text.len() else b"")
        return tag, parts
    plain = column.dt.timestamp("us") if moment else column.cast(pl.UInt8) if tag == b"b" else column
    width = {b"i": "<i8", b"t": "<i8", b"f": "<f8", b"b": "u1"}[tag]
    parts.append(np.ascontiguousarray(plain.fill_null(0).to_numpy(), dtype=width).data.cast("B"))
    return tag, parts


def _parquet(frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.write_parquet(out, compression="lz4", statistics=False)
    return out.getvalue()


def _version(row: Row[tuple[object, ...]]) -> DatasetVersion:
    return DatasetVersion(
        digest=Digest(row.digest), rows=row.rows, columns=tuple(json.loads(row.columns)), source=row.source,
        byte_digest=Digest(row.source_digest) if row.source_digest else None, contract=Digest(row.contract),
        profile=Digest(row.profile), parquet=Digest(row.parquet), created_at=row.created_at, created_by=row.created_by)
