"""Which bundle should answer for an endpoint now, and where does it come from?

Reads the desired state (rollouts) and loads versions. The engine asks; nothing here is on the path of a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from trimtab.errors import CheckFailed
from trimtab.registry import rules
from trimtab.registry.bundle import Bundle, load_bundle
from trimtab.registry.versions import Versions
from trimtab.serving.rollout import Rollouts
from trimtab.serving.room import Room
from trimtab.serving.stages import Stage, Stages


class Place(NamedTuple):
    """Where predictions are asked: an endpoint of a model."""

    model: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a place should serve: a version, and what is tried beside it."""

    version: int
    beside: Stage | None = None


class Source(Protocol):
    """What an engine serves from.

    Promises: `revision` grows whenever `wanted` may have changed; `load` hands out a verified bundle or raises a
    TrimtabError with a sentence; all of them may raise StoreUnreachable, and work again afterwards.
    """

    def revision(self) -> int: ...
    def wanted(self) -> Mapping[Place, Wanted]: ...
    def load(self, model: str, number: int) -> Bundle: ...
    def servable(self, model: str, number: int) -> bool: ...    # may it (still) answer?


class RolloutSource:
    """The rollouts, trials and versions of a workspace, as a source. memory_bytes: what the models may take, None for
    as much as there is."""

    def __init__(self, rollouts: Rollouts, stages: Stages, versions: Versions,
                 memory_bytes: int | None = None) -> None:
        self._room = Room(versions, memory_bytes)
        self._rollouts, self._stages, self._versions = rollouts, stages, versions

    def revision(self) -> int:
        """A number that grows with every rollout and every change of a trial."""
        return max(self._rollouts.revision(), self._stages.revision())

    def wanted(self) -> Mapping[Place, Wanted]:
        """The version that each endpoint should serve, and what is beside it.

        Read one after the other: a trial whose champion went away in between is left out, as the revision has grown.
        """
        beside = {(one.model, one.endpoint, one.champion): one for one in self._stages.all_open()}
        return {Place(live.model, live.endpoint): Wanted(
            live.version, beside.get((live.model, live.endpoint, live.version))) for live in self._rollouts.all_live()}

    def load(self, model: str, number: int) -> Bundle:
        """The version, judged, verified and constructed. Raises NotFound, CheckFailed (gates, deleted), IntegrityError,
        UntrustedModel, OverBudget (with what else should be live)."""
        version = self._versions.get(model, number)
        verdict = rules.may_serve(version)
        if not verdict.allowed:
            raise CheckFailed(verdict.reason, version=version.name)
        wanted = self.wanted()
        self._room.require(version, [(place.model, one) for place, want in wanted.items() for one in (
            want.version, *([] if want.beside is None else [want.beside.version]))])
        return load_bundle(self._versions, version)

    def servable(self, model: str, number: int) -> bool:
        """May the version answer? False once it was deleted."""
        return rules.may_serve(self._versions.get(model, number)).allowed
