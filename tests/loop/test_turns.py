"""What does the loop do with a real model, turn after turn?  Real rooms, a held clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from shop import MODEL, Shop

TURNED = {"bend": 2.0, "shift": 0.5}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop with v1 live."""
    made = Shop(tmp_path)
    yield made
    made.close()


def test_from_drift_to_a_better_champion_that_stays(shop: Shop) -> None:
    """Drift, retrain, gates, shadow, canary, promote, probation: each is done by a turn of the loop and nobody else."""
    assert [done for day in shop.days(2, 150) for done in day] == ["quiet none"] * 2
    done = [one for day in shop.days(8, 200, **TURNED) for one in day if one.startswith("acted")]
    assert done == ["acted notify", "acted retrain", "acted start_shadow", "acted start_canary", "acted promote",
                    "acted start_shadow", "acted stop"]
    assert (shop.live, shop.workspace.stages.current(MODEL)) == (2, None)
    retrain = next(one for one in shop.decided if one.decision.action == "retrain")
    assert retrain.result["rows"]["before"] == 600
    assert retrain.result["rows"]["traffic"] >= 700
    made = shop.workspace.versions.get(MODEL, 2)
    assert made.facts["retrained"]["decision"] == retrain.id
    for one in shop.decided:
        assert shop.workspace.decisions.replay(one.id).differs == ()
    shop.workspace.journal.verify()
