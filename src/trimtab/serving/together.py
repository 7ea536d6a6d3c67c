"""What did all workers of one server count, together?  Each leaves its counters in a file once a second.

Whichever worker is asked for /metrics adds up the files, its own among them, so that no counter ever runs backwards.
Of a worker that died the counters stay, its gauges don't.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_STALE_S: Final = 10.0
_BEST = {"trimtab_live": max, "trimtab_store_reached": min}    # where adding up says nothing


class Together:
    """The counters of the workers of one server, in `folder`; `writer` is this one."""

    def __init__(self, folder: Path, writer: str) -> None:
        self._folder, self._writer = folder, writer

    def leave(self, text: str) -> None:
        """Leave this worker's counters (`metrics.Metrics.text`). Raises OSError."""
        beside = self._folder / f"{self._writer}.part"
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, self._folder / f"{self._writer}.prom")

    def text(self) -> str:
        """Those of all of them, at most some seconds old."""
        found = []
        for path in sorted(self._folder.glob("*.prom")):
            found.append((path.read_text(encoding="utf-8"), time.time() - path.stat().st_mtime < _STALE_S))
        return added(found)


def added(texts: Iterable[tuple[str, bool]]) -> str:
    """Texts in Prometheus' format as one; of those that are not fresh the gauges are left out.

    >>> one = "# TYPE a counter\\na{x=\\"1\\"} 2\\n# TYPE g gauge\\ng 5\\n"
    >>> print(added([(one, True), (one, False)]), end="")
    # TYPE a counter
    a{x="1"} 4
    # TYPE g gauge
    g 5
    """
    heads: dict[str, list[str]] = {}
    samples: dict[str, dict[str, float]] = {}
    for text, fresh in texts:
        family, gauge = "", False
        for line in text.splitlines():
            if line.startswith("#"):
                family = line.split(" ", 3)[2]
                head = heads.setdefault(family, [])
                if line not in head:
                    head.append(line)
                gauge = line.endswith(" gauge") if line.startswith("# TYPE") else gauge
            elif fresh or not gauge:
                name, _, value = line.rpartition(" ")
                number = float(value) if "." in value else int(value)
                mine = samples.setdefault(family, {})
                mine[name] = _BEST.get(family, lambda one, other: one + other)(mine[name], number) \
                    if name in mine else number
    lines = [line for family, head in heads.items() for line in [
        *head, *(f"{name} {value:.6f}" if isinstance(value, float) else f"{name} {value}"
                 for name, value in samples.get(family, {}).items())]]
    return "\n".join(lines) + "\n"
