"""What is registered?  The nouns of the registry: frozen values, no store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from trimtab.canon import Digest

GateVerdict = Literal["passed", "failed", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredients:
    """What a version was made from: one digest each, all of them blobs."""

    code: Digest
    data: Digest
    config: Digest
    environment: Digest

    def to_json(self) -> dict[str, str]:
        """The four digests by name."""
        return {"code": self.code, "data": self.data, "config": self.config, "environment": self.environment}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The bytes of a version: every file's digest, the types inside, the ingredients. Holds no name and no time."""

    flavor: str
    files: dict[str, Digest]
    sizes: dict[str, int]
    types: tuple[str, ...]
    ingredients: Ingredients

    def to_json(self) -> dict[str, object]:
        """The canonical form whose digest is the version's identity."""
        return {
            "format": "trimtab.version/1",
            "flavor": self.flavor,
            "files": {path: {"digest": digest, "bytes": self.sizes[path]} for path, digest in self.files.items()},
            "trusted": sorted(self.types),
            "ingredients": self.ingredients.to_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """An immutable, numbered model."""

    model: str
    number: int                               # 1, 2, 3 … never reused
    digest: Digest                            # of the manifest; identity of the bytes
    manifest: Manifest
    key_id: str                               # who signed (model, number, digest)
    signature: str
    gates: GateVerdict = "none"
    evaluation: Digest | None = None          # blob: the evaluation's JSON
    run: str | None = None
    note: str = ""
    created_at: str = ""
    created_by: str = ""
    deleted_at: str | None = None
    facts: dict[str, object] = field(default_factory=dict)    # model.json: task, classes, candidate, parameters …

    @property
    def name(self) -> str:
        """`risk@v3`."""
        return f"{self.model}@v{self.number}"

    @property
    def tier(self) -> str:
        """How its answers are computed: `numpy, ≤ 1e-15 off on 431 replayed rows`; "" where that was not measured."""
        told = self.facts.get("predict")
        if not isinstance(told, dict):
            return ""
        if not told["tolerance"]:
            return str(told["tier"])
        far = f"≤ {told['difference']:.0e} off" if told["difference"] else "no difference"
        return f"{told['tier']}, {far} on {told['rows']:,} replayed rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """An answer with its reason."""

    allowed: bool
    reason: str

    @classmethod
    def yes(cls, reason: str) -> Verdict:
        """Allowed, because…"""
        return cls(allowed=True, reason=reason)

    @classmethod
    def no(cls, reason: str) -> Verdict:
        """Refused, because…"""
        return cls(allowed=False, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A movable name on a version."""

    model: str
    alias: str
    number: int
    moved_at: str
    moved_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One line of a model's history: who did what, when and why."""

    seq: int                                  # the journal row
    at: str
    by: str
    kind: str                                 # "version.register", "alias.set", "rollout.deploy" …
    what: str                                 # a sentence: "registered v2", "champion: v1 → v2"
    why: str
    model: str
    number: int | None = None                 # the version it is about
    digest: str = ""                          # that version's digest, short
    endpoint: str = ""                        # for rollouts

    def to_json(self) -> dict[str, object]:
        """The entry by field name."""
        return {"seq": self.seq, "at": self.at, "by": self.by, "kind": self.kind, "what": self.what, "why": self.why,
                "model": self.model, "version": self.number, "digest": self.digest, "endpoint": self.endpoint}


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveAt:
    """What answered at one moment."""

    model: str
    endpoint: str
    number: int
    digest: str                               # short
    since: str
    by: str
    why: str
    revision: int
    seq: int                                  # the journal row that says so

    def to_json(self) -> dict[str, object]:
        """The answer by field name."""
        return {"model": self.model, "endpoint": self.endpoint, "version": self.number, "digest": self.digest,
                "since": self.since, "by": self.by, "why": self.why, "revision": self.revision, "seq": self.seq}
