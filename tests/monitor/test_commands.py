"""What the screens of monitor, explain, alert and status say of a live model, from its traffic."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from trimtab.clock import to_text
from trimtab.doors.cli import main as door
from trimtab.workspace import Workspace

Trimtab = Callable[..., str]


class Traffic:
    """Requests that a test writes by hand, in the columns of `traffic/query.py`."""

    def __init__(self) -> None:
        self.frame = pl.DataFrame(schema={"id": pl.String, "at": pl.String, "endpoint": pl.String, "version": pl.Int64,
                                          "features": pl.String, "output": pl.Float64, "label": pl.Float64,
                                          "label_at": pl.String})
        self._rng, self._at = np.random.default_rng(3), datetime.now(UTC) - timedelta(days=20)

    def ask(self, rows: int, *, shift: float = 0.0, labelled: float = 0.0) -> None:
        """So many requests an hour apart from the last; a share of them labelled with unit error."""
        a, b = self._rng.normal(size=rows) + shift, self._rng.uniform(0, 10, size=rows)
        moments = [to_text(self._at + timedelta(seconds=place)) for place in range(rows)]
        self._at += timedelta(hours=1)
        answers = 3 * a - 2 * b
        known = self._rng.random(rows) < labelled
        truth = [float(y) if k else None for y, k in zip(answers + self._rng.normal(size=rows), known, strict=True)]
        new = pl.DataFrame({
            "id": [f"p-{at}" for at in moments], "at": moments, "endpoint": "production", "version": 1,
            "features": [json.dumps({"a": x, "b": z}) for x, z in zip(a, b, strict=True)], "output": answers,
            "label": pl.Series(truth, dtype=pl.Float64),
            "label_at": pl.Series([at if k else None for at, k in zip(moments, known, strict=True)], dtype=pl.String),
        }, schema_overrides={"version": pl.Int64})
        self.frame = pl.concat([self.frame, new])

    def query(self, model: str, *, since: datetime | None = None, until: datetime | None = None,
              version: int | None = None, **_: Any) -> pl.DataFrame:
        """All rows in the span."""
        frame = self.frame.filter(pl.col("version") == version) if version is not None else self.frame
        frame = frame if since is None else frame.filter(pl.col("at") >= to_text(since))
        return frame if until is None else frame.filter(pl.col("at") <= to_text(until))


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    """The traffic of every workspace that this test opens."""
    made = Traffic()
    monkeypatch.setattr(Workspace, "asked", lambda _, model, **span: made.query(model, **span))
    return made


@pytest.fixture
def trimtab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
            traffic: Traffic) -> Trimtab:
    """The command line as a function, in a folder with one live linear model of 2,000 rows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRIMTAB_USER", "ann")
    monkeypatch.delenv("TRIMTAB_DATABASE", raising=False)
    del traffic

    def run(*args: str, code: int = 0) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            door.main(list(args))
        out, err = capsys.readouterr()
        assert int(ended.value.code or 0) == code, out + err
        assert max((len(line) for line in out.splitlines()), default=0) <= 100 or "--json" in args
        return out if code == 0 else out + err

    rng = np.random.default_rng(1)
    a, b = rng.normal(size=2000), rng.uniform(0, 10, size=2000)
    y = 3 * a - 2 * b + rng.normal(size=2000)
    Path("data.csv").write_text("a,b,y\n" + "".join(f"{i:.6f},{j:.6f},{k:.6f}\n" for i, j, k in zip(a, b, y,
                                                                                                  strict=True)))
    run("init", "data.csv")
    toml = Path("trimtab.toml").read_text().replace('["linear", "ridge", "kernel_ridge", "svr", "hgb"]', '["linear"]')
    Path("trimtab.toml").write_text(toml + "\n[monitor]\nwindow = 500\n")
    run("train")
    run("evaluate")
    run("deploy", "y@v1")
    return run


def test_from_a_quiet_model_to_an_alert_that_is_closed(trimtab: Trimtab, traffic: Traffic) -> None:
    said = trimtab("monitor")
    assert "cannot tell yet: no window is closed" in said
    traffic.ask(1000, labelled=0.5)
    said = trimtab("monitor")
    assert "2 windows, 1,000 rows" in said
    assert "none that evidence carries" in said
    assert "at most 1 false alarm a year over all columns" in said
    assert "labelled); when judged" in said
    assert "ALERT" not in trimtab("status")

    traffic.ask(500, shift=1.0)
    told = json.loads(trimtab("monitor", "y", "--json"))
    assert (told["schema"], told["closed"], len(told["opened"])) == ("trimtab.monitor/1", 1, 1)
    name = told["opened"][0]
    assert json.loads(trimtab("monitor", "--json"))["closed"] == 0             # again: nothing to do
    assert f"Next: trimtab explain {name}" in trimtab("monitor", "--dry-run")
    assert f"ALERT       {name}  y@v1  a rose: mean +" in trimtab("status")
    assert json.loads(trimtab("status", "--json"))["alerts"][0]["broken"] is None

    said = trimtab("explain", name)
    assert "Cause 1     shift: a rose: mean +" in said
    assert "look real: the contract holds" in said
    assert "window 3 (" in said
    assert f"Next: trimtab alert ack {name}" in said
    assert "acknowledged, owner ann" in trimtab("alert", "ack", name, "--reason", "looking")
    assert "snoozed until" in trimtab("alert", "snooze", name, "--for", "2d", "--reason", "campaign")
    assert "needs a reason" in trimtab("alert", "close", name, code=2)
    assert "is closed" in trimtab("alert", "close", name, "--reason", "a campaign")
    assert "no alerts that are not closed" in trimtab("alert", "list")
    assert name in trimtab("alert", "list", "--all")
    assert "closed already" in trimtab("alert", "ack", name, code=5)
    assert "there is no alert" in trimtab("explain", "a-nothing", code=2)
    assert "for how long?" in trimtab("alert", "snooze", name, "--reason", "x", code=2)
    assert "alert.close" in trimtab("log", "y")
    assert "unbroken" in trimtab("audit", "verify", "--journal-only")


def test_the_settings_are_those_that_the_version_was_made_with(trimtab: Trimtab, traffic: Traffic) -> None:
    traffic.ask(500)
    assert json.loads(trimtab("monitor", "--json"))["closed"] == 1             # window = 500, not the default 1,000
