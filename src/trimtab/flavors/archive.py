"""Is this zip one that may be looked into?  (and: the same content, always the same bytes)

Everything here works on names, sizes and headers; nothing of the model is constructed. A judged archive has one flat
list of plain files with known endings, no two of the same name, no overlap, sizes within bounds, arrays whose header
agrees with their length and that hold no Python objects.
"""

from __future__ import annotations

import io
import re
import stat
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

from trimtab.errors import UntrustedModel

MAX_FILE_BYTES = 2 << 30
MAX_UNPACKED_BYTES = 4 << 30
MAX_RATIO = 200
FREE_UNPACKED_BYTES = 64 << 20            # below this the ratio is not looked at
MAX_ENTRIES = 200_000
MAX_SCHEMA_BYTES = 64 << 20
SCHEMA = "schema.json"

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}\.(npy|npz|bin)")
_LOCAL_HEADER_BYTES = 30
_EPOCH = (1980, 1, 1, 0, 0, 0)
_DEFLATE_LEVEL = 6
_STORE_ABOVE_RATIO = 100
_TEXT_PICKLE = re.compile(rb"(?:c[\w.]+\n[\w.]+\n|\((?:lp|dp|i))")
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OverflowError, NotImplementedError)
_MAGICS: tuple[tuple[bytes, str], ...] = (
    (b"\x80\x02", "a pickle"), (b"\x80\x03", "a pickle"), (b"\x80\x04", "a pickle"), (b"\x80\x05", "a pickle"),
    (b"\x1f\x8b", "a gzip file, as joblib writes pickles"), (b"\x78", "a zlib stream, as joblib writes pickles"),
    (b"BZh", "a bzip2 file, as joblib writes pickles"), (b"\xfd7zXZ", "an xz file, as joblib writes pickles"),
    (b"]\x00\x00", "an lzma file, as joblib writes pickles"),
    (b"\x04\x22\x4d\x18", "an lz4 file, as joblib writes pickles"), (b"ZF", "an old joblib pickle"),
    (b"\x93NUMPY", "a bare NumPy array"), (b"\x89HDF", "an HDF5 file, as Keras writes"))
RESAVE = ("Open it where you trust it and save the estimator again with trimtab (`trimtab.register(…)`), "
          "which writes the skops format.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A zip whose list of contents has been judged. `sizes`: unpacked bytes by name, the schema not among them."""

    zip: zipfile.ZipFile
    sizes: Mapping[str, int]
    bytes_unpacked: int


def judge(data: bytes) -> Archive:
    """The archive in `data`, its names, kinds and sizes checked; raises UntrustedModel with a sentence.

    The arrays inside are not read yet: `judge_member` does that, one by one.
    """
    if len(data) > MAX_FILE_BYTES:
        raise UntrustedModel(f"the model file has {len(data):,} bytes; the limit is {MAX_FILE_BYTES:,}. Nothing was "
                             "loaded.")
    if not data.startswith(b"PK\x03\x04"):
        raise UntrustedModel(_not_a_zip(data))
    try:
        opened = zipfile.ZipFile(io.BytesIO(data))
    except _BROKEN as broken:
        raise UntrustedModel(f"the model file is cut off or damaged ({broken}). Restore it from the blob store or a "
                             "backup; nothing was loaded.") from None
    infos = opened.infolist()
    _judge_list(infos, len(data))
    sizes = {info.filename: info.file_size for info in infos if info.filename != SCHEMA}
    return Archive(zip=opened, sizes=sizes, bytes_unpacked=sum(info.file_size for info in infos))


def read(archive: Archive, name: str) -> bytes:
    """One member's bytes, checksum verified. Raises UntrustedModel where they are damaged."""
    try:
        return archive.zip.read(name)
    except (*_BROKEN, KeyError, RuntimeError) as broken:
        raise UntrustedModel(f"the member {name!r} of the model file is damaged ({broken}); nothing was "
                             "loaded.") from None


def judge_member(name: str, data: bytes) -> None:
    """Arrays must be plain: header and length agree, and no Python objects inside. Raises UntrustedModel."""
    if name.endswith(".npy"):
        _judge_array(name, io.BytesIO(data), len(data))
    elif name.endswith(".npz"):
        inner = judge_npz(name, data)
        for info in inner.infolist():
            with inner.open(info) as member:
                _judge_array(f"{name}/{info.filename}", member, info.file_size)


def judge_npz(name: str, data: bytes) -> zipfile.ZipFile:
    """The inner zip of a sparse matrix, its list checked. Raises UntrustedModel."""
    try:
        inner = zipfile.ZipFile(io.BytesIO(data))
    except _BROKEN as broken:
        raise UntrustedModel(f"the sparse matrix {name!r} in the model file is damaged ({broken}).") from None
    _judge_list(inner.infolist(), len(data), inner=True)
    return inner


def write(schema: bytes, members: Mapping[str, bytes]) -> bytes:
    """A zip of `schema` and `members`: the same content gives the same bytes (fixed times, order, attributes, level).

    What would deflate by more than 100 to 1 is stored as it is, so that no honest file looks like a bomb.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        for name, data in [(SCHEMA, schema), *sorted(members.items())]:
            info = zipfile.ZipInfo(name, date_time=_EPOCH)
            info.create_system = 3
            info.external_attr = 0o600 << 16
            tight = len(zlib.compress(data, _DEFLATE_LEVEL)) * _STORE_ABOVE_RATIO < len(data)
            info.compress_type = zipfile.ZIP_STORED if tight else zipfile.ZIP_DEFLATED
            out.writestr(info, data, compresslevel=_DEFLATE_LEVEL)
    return buffer.getvalue()


def _judge_list(infos: list[zipfile.ZipInfo], file_bytes: int, *, inner: bool = False) -> None:
    if len(infos) > MAX_ENTRIES:
        raise UntrustedModel(f"the model file lists {len(infos):,} entries; the limit is {MAX_ENTRIES:,}.")
    seen: set[str] = set()
    end = 0
    for info in sorted(infos, key=lambda each: each.header_offset):
        name = info.filename
        if name in seen:
            raise UntrustedModel(f"the entry {name[:80]!r} appears twice in the model file: which of them counts is "
                                 "not defined, so nothing was loaded.")
        seen.add(name)
        if not ((_NAME.fullmatch(name) and (not inner or name.endswith(".npy"))) or (name == SCHEMA and not inner)):
            raise UntrustedModel(f"the entry {name[:80]!r} does not belong in a model file: only {SCHEMA} and flat "
                                 f"names that end in .npy, .npz or .bin do. Nothing was loaded.{_hint(name)}")
        mode = info.external_attr >> 16
        if info.is_dir() or (mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG)):
            raise UntrustedModel(f"the entry {name!r} is a link or another special file; a model file holds plain "
                                 "files only.")
        if info.flag_bits & 0x1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UntrustedModel(f"the entry {name!r} is encrypted or packed in a way that a model file does not use.")
        if info.header_offset < end:
            raise UntrustedModel(f"the entry {name!r} overlaps another one: that is how zip bombs are made.")
        end = info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size
    if end > file_bytes:
        raise UntrustedModel("the model file is cut off: its entries end after the file does.")
    unpacked = sum(info.file_size for info in infos)
    if unpacked > MAX_UNPACKED_BYTES or (unpacked > FREE_UNPACKED_BYTES and unpacked > MAX_RATIO * file_bytes):
        raise UntrustedModel(f"the model file has {file_bytes:,} bytes and would unpack to {unpacked:,}: over the "
                             f"limit of {MAX_UNPACKED_BYTES:,} bytes or {MAX_RATIO} to 1. Nothing was unpacked.")
    if not inner:
        by_name = {info.filename: info.file_size for info in infos}
        if SCHEMA not in by_name:
            raise UntrustedModel(f"the zip holds no {SCHEMA}, so it is not a skops file. {RESAVE}")
        if by_name[SCHEMA] > MAX_SCHEMA_BYTES:
            raise UntrustedModel(f"{SCHEMA} has {by_name[SCHEMA]:,} bytes; the limit is {MAX_SCHEMA_BYTES:,}.")


def _judge_array(name: str, source: IO[bytes], size: int) -> None:
    import numpy as np
    from numpy.lib import format as npy

    counted = _Counting(source)
    try:
        version = npy.read_magic(counted)
        readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        if version not in readers:
            raise ValueError(f"array format {version}")
        shape, _, dtype = readers[version](counted)
        count = int(np.prod([int(n) for n in shape], dtype=object)) if shape else 1
    except (*_BROKEN, TypeError, SyntaxError, KeyError) as broken:
        raise UntrustedModel(f"{name!r} in the model file is not a NumPy array ({str(broken)[:80]}).") from None
    if dtype.hasobject:
        raise UntrustedModel(f"the array {name!r} holds Python objects, which means a pickle inside; it was not "
                             f"loaded. {RESAVE}")
    if any(int(n) < 0 for n in shape) or counted.read_bytes + count * dtype.itemsize != size:
        kind = "records" if dtype.fields else dtype.str
        raise UntrustedModel(f"the array {name!r} says shape {tuple(shape)} of {kind}, which does not fit its "
                             f"{size:,} bytes.")


class _Counting:
    """A reader that counts, so that the length of an array's header is known."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.read_bytes = 0

    def read(self, count: int = -1) -> bytes:
        """As the file's own."""
        data: bytes = self._source.read(count)
        self.read_bytes += len(data)
        return data


def _not_a_zip(data: bytes) -> str:
    text = ((data[:2], "a pickle"),) if _TEXT_PICKLE.match(data[:200]) else ()
    for magic, words in (*text, *_MAGICS):
        if data.startswith(magic):
            danger = ("Loading a pickle runs whatever code its maker put inside, whatever its name says. "
                      if "pickle" in words else "")
            return f"this model file is {words}, not a skops file. {danger}Nothing was loaded. {RESAVE}"
    return f"this model file is not a skops file (a zip with {SCHEMA}). Nothing was loaded. {RESAVE}"


def _hint(name: str) -> str:
    return f" It looks like a pickle inside a zip. {RESAVE}" if name.endswith((".pkl", ".pickle", ".joblib")) else ""
