"""What can the loop do, and what must hold for it to be done once?  The port that its deeds go through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from trimtab.loop.model import Stored

Beat = Callable[[], None]


class Actions(Protocol):
    """The deeds. `order` names the decision: its key, model, endpoint, champion, version, share and reason.

    Promises: a deed done again under the same `order.decision.key`, after it was done or was killed half-way, ends
    where doing it once ends, and gives the same result (plain JSON). A deed that changes what an endpoint serves, or
    what is beside it, does so in one transaction, and raises Conflict where `order.decision.champion` no longer serves
    (unless it was itself what changed that). Busy, StoreUnreachable and StoreFull mean: again later, as it is. Every
    other TrimtabError means that it failed, and its message is what people are told.
    """

    def retrain(self, order: Stored, beat: Beat) -> Mapping[str, Any]:
        """Train a challenger on labelled rows within the contract, as a new dataset version, and register it.

        Gives {"version": int | None, "gates": "passed" | "failed", "why": str}. Call `beat` every few minutes: it
        keeps the lease, and raises Conflict where another worker has taken over, who then finishes it.
        """
        ...

    def stage(self, order: Stored) -> Mapping[str, Any]:
        """Let `version` answer beside the champion: share 0 in shadow, else that share of the traffic."""
        ...

    def stop(self, order: Stored) -> Mapping[str, Any]:
        """End the trial; the champion alone answers. No trial is a success."""
        ...

    def promote(self, order: Stored) -> Mapping[str, Any]:
        """Make `version` the champion and end its trial."""
        ...

    def rollback(self, order: Stored) -> Mapping[str, Any]:
        """Make `version`, which served before, the champion again and end its trial."""
        ...

    def notify(self, order: Stored) -> Mapping[str, Any]:
        """Tell people the reason; whoever gets it twice can tell by the key (notify, propose, refuse)."""
        ...
