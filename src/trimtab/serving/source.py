"""Which bundle should answer for an endpoint now, and where does it come from?

Reads the desired state (rollouts) and loads versions. The engine asks; nothing here is on the path of a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from trimtab.errors import CheckFailed
from trimtab.registry import rules
from trimtab.registry.bundle import Bundle, load_bundle
from trimtab.registry.versions import Versions
from trimtab.serving.rollout import Rollouts


class Place(NamedTuple):
    """Where predictions are asked: an endpoint of a model."""

    model: str
    endpoint: str


class Source(Protocol):
    """What an engine serves from.

    Promises: `revision` grows whenever `wanted` may have changed; `load` hands out a verified bundle or raises a
    TrimtabError with a sentence; all of them may raise StoreUnreachable, and work again afterwards.
    """

    def revision(self) -> int: ...
    def wanted(self) -> Mapping[Place, int]: ...                # version number by place
    def load(self, model: str, number: int) -> Bundle: ...
    def servable(self, model: str, number: int) -> bool: ...    # may it (still) answer?


class RolloutSource:
    """The rollouts and versions of a workspace, as a source."""

    def __init__(self, rollouts: Rollouts, versions: Versions) -> None:
        self._rollouts, self._versions = rollouts, versions

    def revision(self) -> int:
        """A number that grows with every rollout."""
        return self._rollouts.revision()

    def wanted(self) -> Mapping[Place, int]:
        """The version that each endpoint should serve."""
        return {Place(live.model, live.endpoint): live.version for live in self._rollouts.all_live()}

    def load(self, model: str, number: int) -> Bundle:
        """The version, judged, verified and constructed. Raises NotFound, CheckFailed (gates, deleted), IntegrityError,
        UntrustedModel."""
        version = self._versions.get(model, number)
        verdict = rules.may_serve(version)
        if not verdict.allowed:
            raise CheckFailed(verdict.reason, version=version.name)
        return load_bundle(self._versions, version)

    def servable(self, model: str, number: int) -> bool:
        """May the version answer? False once it was deleted."""
        return rules.may_serve(self._versions.get(model, number)).allowed
