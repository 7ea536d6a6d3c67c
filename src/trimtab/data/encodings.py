"""In which encoding is this text file?  Found from its bytes, said aloud, never guessed past what the bytes show.

UTF-8 (with or without byte-order mark), UTF-16 LE/BE with a mark, and GB18030 (which holds GBK and GB2312). Anything
else is an error that names the line and the byte where UTF-8 stops.
"""

from __future__ import annotations

import codecs
import re

from trimtab.errors import DataUnreadable

_MARKS = ((codecs.BOM_UTF8, "utf-8 with BOM", "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le", "utf-16-le"),
          (codecs.BOM_UTF16_BE, "utf-16-be", "utf-16-be"))
_MAGIC = (
    (b"PK\x03\x04", "an Excel workbook or another zip file", "Save the sheet as CSV (UTF-8) and read that."),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls)", "Save the sheet as CSV (UTF-8) and read that."),
    (b"\x1f\x8b", "a gzip file", "Unpack it first: gunzip FILE."),
    (b"BZh", "a bzip2 file", "Unpack it first: bunzip2 FILE."),
    (b"\xfd7zXZ", "an xz file", "Unpack it first: unxz FILE."),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "Unpack it first: unzstd FILE."),
    (b"SQLite format 3", "a SQLite database", 'Read it with data = { sql = "select …", url = "sqlite:///FILE" }.'),
    (b"%PDF", "a PDF", "Export the table as CSV (UTF-8)."),
    (b"\x89PNG", "a picture (PNG)", "Give a table instead."),
    (b"\xff\xd8\xff", "a picture (JPEG)", "Give a table instead."),
    (b"\x93NUMPY", "a NumPy array file", "Load it in Python and hand over a data frame with named columns."),
    (b"\x89HDF", "an HDF5 file", "Load it in Python and hand over a data frame."),
    (b"ARROW1", "an Arrow file", "Save it as Parquet or CSV."),
)
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_GB2312_SHARE = 0.7                            # of the characters beyond ASCII; Latin-1 read as GB18030 stays far below


def refuse_other_formats(name: str, head: bytes) -> None:
    """Raise DataUnreadable where the first bytes say that this is no text table, whatever the file's name says."""
    for magic, what, do in _MAGIC:
        if head.startswith(magic):
            raise DataUnreadable(f"{name} is {what}, not a CSV file, whatever its name says. {do}")
    if _PICKLE.match(head):
        raise DataUnreadable(f"{name} is a Python pickle, which can run code when it is loaded, so it is not opened. "
                             "Save the table as CSV or Parquet.")
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DataUnreadable(f"{name} is a web page or XML, not a CSV file: perhaps a log-in page was downloaded. "
                             "Download the table itself.")
    if start.startswith((b"{", b'[{"', b"[[")):
        raise DataUnreadable(f"{name} looks like JSON, not a CSV file. Save the table as CSV or Parquet.")


def to_utf8(name: str, data: bytes) -> tuple[bytes, str]:
    """The same text as UTF-8 bytes without a mark, and the encoding's name for people.

    Raises DataUnreadable naming line and byte offset (both from 1, in the file) where no encoding fits.
    """
    for mark, shown, codec in _MARKS:
        if data.startswith(mark):
            try:
                return (data[len(mark):] if codec == "utf-8" and _valid(data[len(mark):])
                        else data[len(mark):].decode(codec).encode()), shown
            except UnicodeDecodeError as error:
                raise _undecodable(name, data, shown, error.start + len(mark)) from None
    if (nul := data.find(b"\0")) >= 0:
        line, byte = place(data, nul)
        raise DataUnreadable(f"{name} has a NUL byte at line {line}, byte {byte}: it is a binary file, a damaged one, "
                             "or UTF-16 without a byte-order mark. Save it as CSV in UTF-8.", line=line, byte=byte)
    if data.isascii():
        return data, "utf-8"
    try:
        data.decode()
        return data, "utf-8"
    except UnicodeDecodeError as error:
        broken = error.start
    if not _mostly_utf8(data) and (text := _as_gb18030(data)) is not None:
        return text.encode(), "gb18030"
    raise _undecodable(name, data, "utf-8", broken)


def place(data: bytes, offset: int) -> tuple[int, int]:
    """Line and byte within that line, both from 1, of an offset."""
    return data.count(b"\n", 0, offset) + 1, offset - (data.rfind(b"\n", 0, offset) + 1) + 1


def _undecodable(name: str, data: bytes, encoding: str, offset: int) -> DataUnreadable:
    line, byte = place(data, offset)
    return DataUnreadable(
        f"{name} can't be decoded: byte 0x{data[offset]:02X} at line {line}, byte {byte} (offset {offset}) is not "
        f"{encoding}, and the file is not GB18030/GBK either. Save it again as UTF-8.",
        line=line, byte=byte, offset=offset)


def _valid(data: bytes) -> bool:
    if not data.isascii():
        data.decode()
    return True


def _mostly_utf8(data: bytes) -> bool:
    """Does most of what lies beyond ASCII read as UTF-8?  Then the file is damaged UTF-8, not another encoding."""
    text = data[:4_000_000].decode(errors="replace")
    broken = text.count("\ufffd")
    return sum(1 for character in text if character > "\x7f") - broken > broken


def _as_gb18030(data: bytes) -> str | None:
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        return None
    wide = [character for character in text[:1_000_000] if character > "\x7f"]
    common = sum(1 for character in wide if _in_gb2312(character))
    return text if common >= _GB2312_SHARE * len(wide) else None


def _in_gb2312(character: str) -> bool:
    try:
        character.encode("gb2312")
    except UnicodeEncodeError:
        return False
    return True
