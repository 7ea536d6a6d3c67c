"""From Python an endpoint is asked, told truths and looked at, without a server, and nothing of it is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

import trimtab
from trimtab.errors import ContractViolation, NotFound, UsageError
from trimtab.project.project import Project

ROWS = [{"a": 0.1, "b": 5.0}, {"a": 0.2, "b": 6.0}]


def test_what_is_asked_is_recorded_and_finds_its_truth(live: Project) -> None:
    with live.endpoint() as endpoint:
        answer = endpoint.predict(ROWS)
        assert (answer.version, len(answer.prediction.values)) == (1, 2)
        told = endpoint.label(answer, [1.5, np.float64(2.5)])
        assert (told.new, told.unknown) == (2, 0)
        assert endpoint.label([answer.ids[0]], [1.75]).corrected == 1
        frame = endpoint.traffic()
        assert dict(zip(frame["id"], frame["label"], strict=True)) == {answer.ids[0]: "1.75", answer.ids[1]: "2.5"}
        assert frame["stage"].unique().to_list() == ["champion"]
        assert endpoint.traffic(until="2001-01-01").is_empty()
        status = endpoint.status()
        assert (status.model, status.live[0].version) == ("y", 1)


def test_every_shape_of_rows_gives_the_same_answers(live: Project) -> None:
    with live.endpoint() as endpoint:
        shapes = [ROWS, pl.DataFrame(ROWS), pd.DataFrame(ROWS), np.array([[0.1, 5.0], [0.2, 6.0]]),
                  pd.DataFrame(ROWS).assign(extra=1)]
        answers = [endpoint.predict(rows).prediction.values for rows in shapes]
        assert all(one == answers[0] for one in answers)
        assert endpoint.predict(ROWS[0]).prediction.values == answers[0][:1]
        with pytest.raises(ContractViolation):
            endpoint.predict({"a": 0.1, "b": 5000.0})
        assert len(endpoint.traffic()) == 2 * len(shapes) + 1


def test_a_deploy_is_met_by_the_next_question(live: Project) -> None:
    with live.endpoint() as endpoint:
        assert endpoint.predict(ROWS).version == 1
        live.train(["ridge"])
        version = live.evaluate(note="again").version
        assert version is not None
        version.deploy()
        assert endpoint.predict(ROWS).version == version.number


def test_what_can_not_be_meant_is_said(live: Project) -> None:
    with live.endpoint() as endpoint:
        answer = endpoint.predict(ROWS)
        with pytest.raises(UsageError, match="1 truths for 2"):
            endpoint.label(answer, [1.0])
        with pytest.raises(UsageError, match="some are keys"):
            endpoint.label([answer.ids[0], "customer-7"], [1.0, 2.0])
    with pytest.raises(NotFound):
        live.endpoint("eu").predict(ROWS)
    with pytest.raises(NotFound):
        trimtab.endpoint("nobody", workspace=live.workspace.folder)


def test_nothing_is_lost_when_python_ends_without_closing(live: Project, tmp_path: Path) -> None:
    """`trimtab.endpoint` in a script of its own."""
    if not live.workspace.db.is_sqlite:
        pytest.skip("finds its workspace by the folder alone")
    script = "import trimtab\nprint(*trimtab.endpoint('y').predict([{'a': 0.1, 'b': 5.0}]).ids)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=tmp_path, capture_output=True, text=True,
                          check=True, env=dict(os.environ))
    assert live.endpoint().traffic()["id"].to_list() == [done.stdout.strip()]
