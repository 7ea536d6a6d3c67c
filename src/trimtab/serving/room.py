"""Is there room for another version in the memory that models may take?

Told before a byte of it is constructed, from what its files hold unpacked; what a model makes of them beyond that is
not known then, so the limit is a guard against the model that is far too large, and no promise to the byte.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable

from trimtab.errors import OverBudget
from trimtab.registry.model import Version
from trimtab.registry.versions import Versions


class Room:
    """Memory for the models of one process. limit_bytes: None for as much as there is."""

    def __init__(self, versions: Versions, limit_bytes: int | None) -> None:
        self._versions, self._limit = versions, limit_bytes
        self._known: dict[tuple[str, int], int] = {}

    def require(self, version: Version, others: Iterable[tuple[str, int]]) -> None:
        """Raise OverBudget where `version` and the others, which stay, are over the limit together."""
        if self._limit is None:
            return
        held = sum(self._size(self._versions.get(*one)) for one in set(others) - {(version.model, version.number)})
        size = self._size(version)
        if held + size > self._limit:
            raise OverBudget(f"{version.name} needs about {_mb(size)}, and with the {_mb(held)} of what else is live "
                             f"that is over --memory {_mb(self._limit)}. Give more, or take an endpoint's version back",
                             version=version.name, bytes=size, held=held, limit=self._limit)

    def _size(self, version: Version) -> int:
        key = version.model, version.number
        if key not in self._known:
            self._known[key] = sum(_unpacked(self._versions.read(version, path)) for path in version.manifest.files)
        return self._known[key]


def _unpacked(data: bytes) -> int:
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return len(data)
    with zipfile.ZipFile(io.BytesIO(data)) as held:
        return sum(one.file_size for one in held.infolist())


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
