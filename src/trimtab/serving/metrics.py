"""How many, how fast, how often wrong?  Counters of a serving process, and their Prometheus text.

One meter a (model, endpoint, version), with fixed latency bounds; counting an answer costs well under a microsecond.
Counts start at zero with the process, as Prometheus expects. `pulse.py` leaves the last minute for `trimtab status`.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

BOUNDS_S: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_PACE_SHARE: Final = 0.1                       # how much of the pace the newest answer is
_STALL_US: Final = 4000                        # no single answer counts for more in it
_UNKNOWN: Final = "(none)"                     # models that are not live: names from the wire are no labels

Labels = Mapping[str, object]
Place = tuple[str, str, int]                   # model, endpoint, version
Sample = tuple[Mapping[str, object], float]


class Meter:
    """What one version answered at one endpoint. `buckets`: answers by latency, one more than there are bounds."""

    __slots__ = ("_turn", "buckets", "fallback_rows", "pace_us", "requests", "rows", "seconds")

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self.requests = self.rows = self.fallback_rows = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self.pace_us = float("inf")           # how long contract and prediction of a request take of late

    def answered(self, rows: int, seconds: float, predict_us: int, fallback_rows: int = 0) -> None:
        """Count an answer: its rows, the time that it took, what of it contract and prediction took, and how many of
        the rows got the endpoint's fallback."""
        with self._turn:
            self.requests += 1
            self.rows += rows
            self.fallback_rows += fallback_rows
            self.seconds += seconds
            self.buckets[bisect_left(BOUNDS_S, seconds)] += 1
            told = min(predict_us, _STALL_US)
            self.pace_us = told if self.requests == 1 else self.pace_us + _PACE_SHARE * (told - self.pace_us)


class Metrics:
    """The counters of one serving process. Safe to share between threads."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._meters: dict[Place, Meter] = {}
        self._refused: dict[tuple[str, str], int] = {}
        self._broken: dict[str, int] = {}
        self._swaps: dict[tuple[str, str], int] = {}

    def of(self, model: str, endpoint: str, version: int) -> Meter:
        """The meter of what answers there; made when it is first asked for. Only for what is loaded."""
        found = self._meters.get((model, endpoint, version))
        if found is None:
            with self._turn:
                found = self._meters.setdefault((model, endpoint, version), Meter())
        return found

    def refused(self, model: str, code: str, *, broken_rows: int = 0) -> None:
        """Count a request that got an error, by the error's code; and of its rows those that broke the contract.

        model: as the address named it; one that never answered here is counted under `(none)`.
        """
        with self._turn:
            known = model if any(model == one for one, _, _ in self._meters) else _UNKNOWN
            self._refused[known, code] = self._refused.get((known, code), 0) + 1
            if broken_rows:
                self._broken[known] = self._broken.get(known, 0) + broken_rows

    def swapped(self, model: str, endpoint: str) -> None:
        """Count another version that took over an endpoint."""
        with self._turn:
            self._swaps[model, endpoint] = self._swaps.get((model, endpoint), 0) + 1

    def meters(self) -> list[tuple[Place, Meter]]:
        """Every meter with its (model, endpoint, version), in order."""
        return sorted(self._meters.copy().items(), key=lambda one: one[0])

    def errors(self) -> dict[str, int]:
        """Refused requests by model."""
        with self._turn:
            found: dict[str, int] = {}
            for (model, _), count in self._refused.items():
                found[model] = found.get(model, 0) + count
        return found

    def text(self, *, waiting: int = 0, live: Iterable[Place] = (),
             dropped: Iterable[tuple[Place, int]] = (), store_away: bool = False) -> str:
        """Prometheus' text format, version 0.0.4. waiting: requests in the queue; live: what answers; dropped: rows
        that a shadow left out."""
        meters = [(_at(place), one) for place, one in self.meters()]
        with self._turn:
            refused = [({"model": model, "code": code}, count) for (model, code), count in self._refused.items()]
            broken = [({"model": model}, count) for model, count in self._broken.items()]
            swaps = [({"model": model, "endpoint": place}, count) for (model, place), count in self._swaps.items()]
        lines = [
            *_family("trimtab_requests_total", "counter", "Requests answered with predictions.",
                     [(labels, one.requests) for labels, one in meters]),
            *_family("trimtab_rows_total", "counter", "Rows predicted.",
                     [(labels, one.rows) for labels, one in meters]),
            *_family("trimtab_errors_total", "counter", "Requests for predictions that got an error, by its code.",
                     refused),
            *_family("trimtab_contract_broken_rows_total", "counter", "Rows that broke the contract.", broken),
            *_family("trimtab_fallback_rows_total", "counter", "Rows answered by the endpoint's fallback.",
                     [(labels, one.fallback_rows) for labels, one in meters]),
            *_family("trimtab_shadows_dropped_total", "counter", "Shadow computations left out, too many waiting.",
                     [(_at(place), count) for place, count in dropped]),
            *_family("trimtab_swaps_total", "counter", "Times that another version took over.", swaps),
            *_histogram("trimtab_request_seconds", "From a request's rows to its recorded answer, in seconds.", meters),
            *_family("trimtab_waiting_requests", "gauge", "Requests that wait for a thread.", [({}, waiting)]),
            *_family("trimtab_live", "gauge", "1 for the version that answers.",
                     [(_at(place), 1) for place in live]),
            *_family("trimtab_store_reached", "gauge", "0 while the store is away; what is loaded serves on.",
                     [({}, int(not store_away))]),
        ]
        return "\n".join(lines) + "\n"


def quantile_s(buckets: Iterable[int], share: float) -> float | None:
    """The latency below which `share` of the answers lie, in seconds: the upper bound of its bucket; None of none.

    >>> quantile_s([0, 98, 0, 2], 0.99)
    0.001
    """
    counts = list(buckets)
    need, seen = share * sum(counts), 0
    for place, count in enumerate(counts):
        seen += count
        if count and seen >= need:
            return BOUNDS_S[min(place, len(BOUNDS_S) - 1)]
    return None


def _family(name: str, kind: str, told: str, samples: Sequence[Sample]) -> Iterator[str]:
    yield f"# HELP {name} {told}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield f"{name}{_labels(labels)} {value:g}" if isinstance(value, float) else f"{name}{_labels(labels)} {value}"


def _histogram(name: str, told: str, meters: Sequence[tuple[Labels, Meter]]) -> Iterator[str]:
    yield from _family(name, "histogram", told, [])
    for labels, one in meters:
        seen, buckets = 0, one.buckets.copy()
        for bound, count in zip((*BOUNDS_S, float("inf")), buckets, strict=True):
            seen += count
            yield f"{name}_bucket{_labels({**labels, 'le': '+Inf' if bound == float('inf') else f'{bound:g}'})} {seen}"
        yield f"{name}_sum{_labels(labels)} {one.seconds:.6f}"
        yield f"{name}_count{_labels(labels)} {seen}"


def _at(place: Place) -> Labels:
    model, endpoint, version = place
    return {"model": model, "endpoint": endpoint, "version": version}


def _labels(labels: Labels) -> str:
    told = ",".join(f'{name}="{_escaped(str(value))}"' for name, value in labels.items())
    return f"{{{told}}}" if told else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
