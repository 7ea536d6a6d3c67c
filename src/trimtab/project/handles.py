"""What does Python hold in its hand after `register`?  A version that can be deployed, asked and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trimtab.canon import Digest
from trimtab.errors import Conflict
from trimtab.registry.bundle import Bundle, Prediction, load_bundle
from trimtab.registry.model import Version
from trimtab.workspace import Workspace

if TYPE_CHECKING:
    from trimtab.project.trying import Tried
    from trimtab.registry.difference import Difference
    from trimtab.serving.rollout import Change


class ModelVersion:
    """A registered version of a workspace. Its facts never change; its verbs act as the workspace's user."""

    def __init__(self, workspace: Workspace, version: Version) -> None:
        self.workspace, self.record = workspace, version

    @property
    def model(self) -> str:
        """The model's name."""
        return self.record.model

    @property
    def number(self) -> int:
        """1, 2, 3 …"""
        return self.record.number

    @property
    def digest(self) -> Digest:
        """The identity of its bytes."""
        return self.record.digest

    @property
    def gates(self) -> str:
        """"passed", "failed" or "none" (not judged)."""
        return self.record.gates

    @cached_property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """Its scores on the held-out rows: name → {value, low, high, level, n}; empty where it was not evaluated."""
        evaluation = self.workspace.versions.evaluation(self.record)
        test: Any = (evaluation or {}).get("test", {})
        found: dict[str, dict[str, Any]] = test.get("metrics", {})
        return found

    @cached_property
    def bundle(self) -> Bundle:
        """The model, verified, judged and loaded."""
        return load_bundle(self.workspace.versions, self.record)

    def deploy(self, *, why: str = "", endpoint: str = "production", dry_run: bool = False) -> Change:
        """Make it live. Raises CheckFailed (gates), Conflict, DigestMismatch, SignatureInvalid."""
        return self.workspace.rollouts.deploy(self.model, self.number, by=self.workspace.actor, why=why,
                                              endpoint=endpoint, dry_run=dry_run)

    def shadow(self, *, why: str = "", endpoint: str = "production", dry_run: bool = False) -> Tried:
        """Let it compute beside the champion and answer nobody. Raises as `canary`."""
        return self.canary(0.0, why=why, endpoint=endpoint, dry_run=dry_run)

    def canary(self, share: float, *, why: str = "", endpoint: str = "production", dry_run: bool = False) -> Tried:
        """Let it compute beside the champion and answer a share of the traffic, below 1. Raises as `deploy`, and
        Conflict where another version is tried already, or nothing but itself serves."""
        from trimtab.project.trying import try_beside

        return try_beside(self.workspace, self.model, self.number, share=share, why=why, endpoint=endpoint,
                          dry_run=dry_run)

    def stop_trial(self, *, why: str = "", endpoint: str = "production") -> Tried:
        """Let the champion answer alone again; Conflict where it is another version that is tried."""
        from trimtab.project.trying import end

        found = self.workspace.stages.current(self.model, endpoint)
        if found is not None and found.version != self.number:
            raise Conflict(f"it is v{found.version} that is tried beside v{found.champion}, not v{self.number}",
                           model=self.model)
        return end(self.workspace, self.model, why=why, endpoint=endpoint)

    def predict(self, rows: Any) -> Prediction:
        """Answers for one row or several; each is checked against the contract of this version.

        rows: a mapping of column to value, a sequence of them, a pandas or Polars frame, or a matrix of shape (rows,
        features) in the contract's order. Columns of a frame that are no features are not looked at. Raises
        ContractViolation (nothing is predicted then), UsageError (something else).
        """
        if isinstance(rows, Mapping):
            return self.bundle.predict_rows([rows])
        if isinstance(rows, Sequence) and not isinstance(rows, str) and all(isinstance(r, Mapping) for r in rows):
            return self.bundle.predict_rows(rows)
        from trimtab.project.asking import predict_batch

        return predict_batch(self.bundle, rows)

    def diff(self, other: ModelVersion | str) -> Difference:
        """How it differs from an older version. Raises NotFound."""
        from trimtab.project.comparing import difference

        older = other.record.name if isinstance(other, ModelVersion) else other
        return difference(self.workspace, older, self.record.name)

    def __repr__(self) -> str:
        metric = self.record.facts.get("metric")
        found = self.metrics.get(str(metric))
        score = f", test {metric} {found['value']:.4g}" if found else ""
        return f"<{self.record.name} {self.digest.short}, gates {self.gates}{score}>"
