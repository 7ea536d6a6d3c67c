"""Which files make a folder a project, and how are they written?  Imports nothing heavy: `trimtab log` asks here."""

from __future__ import annotations

import os
from pathlib import Path

from trimtab.errors import StoreUnreachable

TOML, CONTRACT = "trimtab.toml", "contract.toml"


def find_root(start: Path | None = None) -> Path | None:
    """The nearest folder with a trimtab.toml: `start` (default: the current one) or one above it."""
    here = (start or Path.cwd()).resolve()
    return next((folder for folder in (here, *here.parents) if (folder / TOML).is_file()), None)


def write_text(path: Path, text: str) -> None:
    """Write a file wholly or not at all. Raises StoreUnreachable."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
    except OSError as problem:
        raise StoreUnreachable(f"{path.name} can't be written: {problem.strerror}") from problem
