"""Was this step already done with the same code, environment, parameters and inputs?  And if not, what changed?

The key is the SHA-256 of those components; inputs count by the digests of their content, so a step whose inputs come
out the same is not done again (early cut-off). Blobs are stored first, then one row; the first writer wins. A lease per
key, renewed while the work lasts, keeps two workers from doing the same; one that is killed lets go when it expires.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from trimtab import canon, clock
from trimtab.canon import Digest
from trimtab.clock import Clock
from trimtab.store.blobs import BlobStore
from trimtab.store.db import Database
from trimtab.store.leases import Leases
from trimtab.store.schema import step_cache

Outputs = dict[str, Digest]
_LEASE = timedelta(minutes=10)
_POLL_S = 0.25
MISSING = "(not there)"


@dataclass(frozen=True, kw_only=True)
class Components:
    """Everything that a step's outputs depend on. `environment`: flat facts, e.g. {"package numpy": "2.4.6"}."""

    step: str
    code: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, object] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def key(self) -> Digest:
        """The cache key."""
        return canon.digest_json(["trimtab.step/1", self.step, dict(self.code), canon.digest_json(
            dict(self.environment)), dict(self.parameters), dict(self.inputs)])

    def to_json(self) -> dict[str, object]:
        """As it is kept, so that a later run can say what changed."""
        return {"code": dict(self.code), "environment": dict(self.environment), "parameters": dict(self.parameters),
                "inputs": dict(self.inputs)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A step's outputs, and whether they came from the cache."""

    outputs: Outputs
    hit: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Would the step run now? `reasons`: what changed since its last run, or why nothing needs to be done."""

    step: str
    hit: bool
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.step}: {'from the cache' if self.hit else 'runs'}: {'; '.join(self.reasons)}"


class StepCache:
    """The done steps of one project in a workspace. Safe to share between threads and processes."""

    def __init__(self, db: Database, blobs: BlobStore, now: Clock, *, project: str, holder: str = "",
                 sleep: Callable[[float], None] = time.sleep, beat_s: float | None = None) -> None:
        self._db, self._blobs, self._clock, self._project = db, blobs, now, project
        self._leases, self._holder, self._sleep = Leases(db, now), holder or f"process {os.getpid()}", sleep
        self._beat_s = beat_s                  # how often a lease is renewed, else a third of its time

    def find(self, components: Components) -> Outputs | None:
        """The outputs of a step that was done, if all of its blobs are still there; marks them as used now."""
        with self._db.read() as conn:
            text = conn.execute(sa.select(step_cache.c.outputs).where(
                step_cache.c.key == components.key)).scalar_one_or_none()
        if text is None:
            return None
        outputs = _outputs(text)
        if not all(self._blobs.has(digest) for digest in outputs.values()):
            return None
        with self._db.write() as conn:
            conn.execute(step_cache.update().where(step_cache.c.key == components.key).values(used_at=self._now()))
        return outputs

    def run(self, components: Components, work: Callable[[], Mapping[str, Digest]], *, fresh: bool = False) -> Outcome:
        """The outputs from the cache, or of `work()`, which stores blobs and returns their digests.

        fresh: do it even if it was done (`--no-cache`, `--from`). What `work` raises goes through, and nothing is kept.
        """
        if not fresh:
            if (found := self.find(components)) is not None:
                return Outcome(outputs=found, hit=True)
            with self._only_one(components.key):
                if (found := self.find(components)) is not None:      # another worker was at it
                    return Outcome(outputs=found, hit=True)
                return Outcome(outputs=self.keep(components, work()), hit=False)
        done = dict(work())
        self.keep(components, done)
        return Outcome(outputs=done, hit=False)

    def keep(self, components: Components, outputs: Mapping[str, Digest]) -> Outputs:
        """Record outputs whose blobs are stored. The first writer wins: what it recorded is returned."""
        values = {"project": self._project, "step": components.step, "used_at": self._now(),
                  "components": canon.dumps(components.to_json()).decode(),
                  "outputs": canon.dumps(dict(outputs)).decode()}
        mine = step_cache.c.key == components.key
        with self._db.write() as conn:
            text = conn.execute(sa.select(step_cache.c.outputs).where(mine).with_for_update()).scalar_one_or_none()
            if text is None:
                conn.execute(step_cache.insert().values(key=components.key, created_at=values["used_at"], **values))
                return dict(outputs)
            first = _outputs(text)
            if all(self._blobs.has(digest) for digest in first.values()):
                conn.execute(step_cache.update().where(mine).values(used_at=values["used_at"]))
                return first
            conn.execute(step_cache.update().where(mine).values(**values))    # its blobs are gone: ours stand in
        return dict(outputs)

    def why(self, components: Components) -> Why:
        """What changed since the step's last run, component by component."""
        last = self._last(components.step)
        with self._db.read() as conn:
            row = conn.execute(sa.select(step_cache.c.outputs, step_cache.c.created_at).where(
                step_cache.c.key == components.key)).one_or_none()
        if row is not None and all(self._blobs.has(digest) for digest in _outputs(row.outputs).values()):
            same = f"{_count(components.parameters, 'parameter')} and {_count(components.inputs, 'input')}"
            return Why(step=components.step, hit=True, reasons=(
                f"code, environment, {same} are those of {row.created_at[:19]}Z",))
        if row is not None:
            return Why(step=components.step, hit=False, reasons=("its stored outputs were deleted",))
        if last is None:
            return Why(step=components.step, hit=False, reasons=("it was never run",))
        return Why(step=components.step, hit=False, reasons=tuple(changes(last, components)))

    def _last(self, step: str) -> Components | None:
        with self._db.read() as conn:
            text = conn.execute(
                sa.select(step_cache.c.components).where(step_cache.c.project == self._project,
                                                         step_cache.c.step == step)
                .order_by(step_cache.c.used_at.desc(), step_cache.c.created_at.desc()).limit(1)).scalar_one_or_none()
        if text is None:
            return None
        raw: Any = canon.loads(text)
        return Components(step=step, **raw)

    @contextmanager
    def _only_one(self, key: Digest) -> Iterator[None]:
        """Hold the key's lease; where another worker has it, wait until it is done or its lease has expired."""
        name = f"step:{key.hex}"
        while (lease := self._leases.take(name, holder=self._holder, ttl=_LEASE)) is None:
            self._sleep(_POLL_S)
        try:
            with self._leases.renewed(lease, ttl=_LEASE, every_s=self._beat_s):
                yield
        finally:
            self._leases.release(lease)

    def _now(self) -> str:
        return clock.to_text(self._clock.now())


def changes(before: Components, now: Components) -> Iterator[str]:
    """Sentences naming each component that differs.

    >>> list(changes(Components(step="s", parameters={"alpha": 1.0}), Components(step="s", parameters={"alpha": 3.0})))
    ['parameter alpha: 1.0 → 3.0']
    """
    for name, was, is_now in _differences(before.code, now.code):
        yield f"code of {name} " + ("is new" if was == MISSING else "is gone" if is_now == MISSING else "changed")
    for name, was, is_now in _differences(before.parameters, now.parameters):
        yield f"parameter {name}: {_text(was)} → {_text(is_now)}"
    for name, was, is_now in _differences(before.environment, now.environment):
        yield f"environment: {name} {was} → {is_now}"
    for name, was, is_now in _differences(before.inputs, now.inputs):
        yield f"input {name}: {was[:13]} → {is_now[:13]}"


def flat_environment(captured: Mapping[str, object]) -> dict[str, str]:
    """`registry.environment.capture_environment()` as one fact a line: "python", "package numpy", "blas", …"""
    flat: dict[str, str] = {}
    for name, value in captured.items():
        if name == "packages" and isinstance(value, Mapping):
            flat |= {f"package {package}": str(version) for package, version in value.items()}
        elif name != "schema":
            flat[name] = value if isinstance(value, str) else canon.dumps(value).decode()
    return flat


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in sorted({*before, *now}):
        was, is_now = before.get(name, MISSING), now.get(name, MISSING)
        if was != is_now:
            yield name, was, is_now


def _text(value: object) -> str:
    return value if isinstance(value, str) else canon.dumps(value).decode()


def _outputs(text: str) -> Outputs:
    raw: Any = canon.loads(text)
    return {name: Digest(value) for name, value in raw.items()}


def _count(things: Mapping[str, object], word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"
