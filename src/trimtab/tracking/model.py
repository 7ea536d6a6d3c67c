"""What is a run?  Frozen values, no store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from trimtab.canon import Digest
from trimtab.ids import shown_run

Status = Literal["running", "finished", "failed", "killed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a pipeline, or of a part of it (then `parent` names the whole)."""

    id: str                                   # 32 hex digits
    kind: str                                 # "train", "candidate", "evaluate"
    model: str
    parent: str | None = None
    status: Status = "running"
    started_at: str = ""
    ended_at: str | None = None
    by: str = ""
    inputs: dict[str, str] = field(default_factory=dict)      # name → digest
    outputs: dict[str, Digest] = field(default_factory=dict)  # name → digest of a blob
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float | None] = field(default_factory=dict)   # the newest value of each
    tags: dict[str, str] = field(default_factory=dict)
    digest: Digest | None = None              # of all of the above, once closed

    @property
    def shown(self) -> str:
        """`r-7c2f00aa`."""
        return shown_run(self.id)

    def content(self) -> dict[str, object]:
        """What a closed run's digest covers."""
        return {"format": "trimtab.run/1", "id": self.id, "kind": self.kind, "model": self.model,
                "parent": self.parent, "status": self.status, "started_at": self.started_at,
                "ended_at": self.ended_at, "by": self.by, "inputs": self.inputs, "outputs": self.outputs,
                "params": self.params, "metrics": self.metrics, "tags": self.tags}
