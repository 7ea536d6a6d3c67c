"""The swap probe itself, small: every answer under load is of exactly one version, and none is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

PROBES = Path(__file__).parents[2] / "benchmarks" / "serving"


@pytest.mark.slow
def test_changes_under_load_lose_no_request_and_mix_no_versions(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promotes and rollbacks at random moments, broken versions among them, over keep-alive connections."""
    monkeypatch.syspath_prepend(str(PROBES))
    import swap_probe

    told = swap_probe.probe(tmp_path, swaps=12, megabytes=3)
    assert (told["errors"], told["wrong"]) == (0, 0), told
    assert len(told["versions"]) > 2
    assert told["live"] > 2
    assert told["failed"] > 0
    assert told["refused"] > 0
    assert told["answers"] > 100
