"""From data.csv to a model that is served, in the words that scripts rely on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split

pytestmark = pytest.mark.usefixtures("table")


@pytest.fixture
def table(trimtab: Any) -> Path:
    from tests.cli.conftest import write_linear

    write_linear(Path("data.csv"))
    return Path("data.csv")


def by_hand(path: Path) -> float:
    """The ten-line script that everyone starts with."""
    data = np.loadtxt(path, delimiter=",", skiprows=1)
    X_train, X_test, y_train, y_test = train_test_split(data[:, :-1], data[:, -1], test_size=0.2, random_state=42)
    return float(mean_squared_error(y_test, LinearRegression().fit(X_train, y_train).predict(X_test)))


def test_run_goes_all_the_way_and_prints_one_object(trimtab: Any) -> None:
    told = trimtab("run", "data.csv", "--json").json
    assert told["model"] == "y"
    assert told["version"] == 1
    assert told["digest"].startswith("sha256:")
    assert set(told["metrics"]) >= {"mse", "rmse", "mae", "r2"}
    assert told["endpoint"] == "production"
    assert told["candidates"]["linear"]["test"]["mse"] == pytest.approx(by_hand(Path("data.csv")), rel=1e-9)
    status = trimtab("status", "--json").json
    assert [row["version"] for row in status["models"][0]["live"]] == [1]


def test_the_screens_lead_from_one_command_to_the_next(trimtab: Any) -> None:
    said = trimtab("init", "data.csv").out
    assert "200 rows × 3 columns" in said
    assert "y (last column; change with --target)   task: regression" in said
    assert said.rstrip().endswith("Next: trimtab train")
    said = trimtab("train").out
    assert "← chosen" in said
    assert "baseline" in said
    assert "Next: trimtab evaluate" in said
    said = trimtab("evaluate").out
    assert "95% CI [" in said
    assert "Registered  y v1" in said
    assert "Next: trimtab deploy y@v1" in said
    assert "POST /v2/models/y/infer" in trimtab("deploy", "y@v1").out
    assert "y  v1 100%" in trimtab("status").out
    assert "deployed v1 at production" in trimtab("log", "y").out
    assert "unbroken" in trimtab("audit", "verify").out


def test_doing_it_again_is_all_cache_hits_and_makes_no_second_version(trimtab: Any) -> None:
    first = trimtab("run", "data.csv", "--json").json
    trained = trimtab("train", "--json").json
    assert set(trained["cached"]) >= {"read", "split", "train:linear", "train:hgb"}
    again = trimtab("run", "data.csv", "--json").json
    assert (again["version"], again["digest"]) == (first["version"], first["digest"])
    why = trimtab("why", "train:linear", "--json").json
    assert why["steps"][0]["cached"]


def test_a_second_version_is_compared_promoted_and_rolled_back(trimtab: Any) -> None:
    trimtab("run", "data.csv", "--json")
    toml = Path("trimtab.toml")
    toml.write_text(toml.read_text().replace('["linear", "ridge", "kernel_ridge", "svr", "hgb"]', '["ridge"]'))
    trimtab("train")
    assert trimtab("evaluate", "--json", code=None).json["version"] == 2
    diff = trimtab("diff", "y@v1", "y@v2", "--json").json
    assert diff["rows"] == 40
    assert any(change["change"] is not None for change in diff["metrics"])
    trimtab("promote", "y@v2", "--reason", "simpler", code=None)
    live = trimtab("log", "y", "--at", "2999-01-01", "--json").json["version"]
    if live == 2:
        assert trimtab("rollback", "y", "--reason", "complaint 118", "--json").json["version"] == 1
        assert "complaint 118" in trimtab("log", "y").out
    trimtab("audit", "verify")


def test_rebuilding_a_version_from_its_ingredients_gives_the_same_digest(trimtab: Any) -> None:
    version = trimtab("run", "data.csv", "--json").json
    told = trimtab("rebuild", "y@v1", "--json").json
    assert told["same"], told["words"]
    assert told["original"] == version["digest"]
    trimtab("checkout", "y@v1", "laid-out")
    assert {path.name for path in Path("laid-out").iterdir()} >= {"data.csv", "trimtab.toml", "contract.toml",
                                                                  "requirements.lock", "y@v1"}


def test_a_gate_that_fails_ends_with_1_and_nothing_is_deployed(trimtab: Any) -> None:
    trimtab("init", "data.csv")
    toml = Path("trimtab.toml")
    toml.write_text(toml.read_text() + "\n[gates]\nmse = { upper = 0.001 }\n")
    trimtab("train")
    told = trimtab("evaluate", code=1).out
    assert "fail" in told
    refused = trimtab("deploy", "y@v1", code=1)
    assert "failed its gates" in refused.err
    assert trimtab("status", "--json").json["models"][0]["live"] == []


def test_predictions_without_a_server_name_the_rows_that_break_the_contract(trimtab: Any) -> None:
    trimtab("run", "data.csv", "--json")
    Path("new.csv").write_text("a,b\n0.5,5\n0.5,5000\n")
    told = trimtab("predict", "y@champion", "new.csv", "--json").json
    assert [one["row"] for one in told["predictions"]] == [1]
    assert "above the contract's max" in told["violations"][0]["message"]


def test_python_sees_the_same_project(trimtab: Any, recwarn: pytest.WarningsRecorder) -> None:
    import trimtab as library

    trimtab("init", "data.csv")
    project = library.open("data.csv")
    run = project.train(["ridge", "linear"])
    version = run.best.register("y", note="first cut")
    assert version.number == 1
    assert version.metrics["mse"]["low"] < version.metrics["mse"]["value"] < version.metrics["mse"]["high"]
    X_train, X_test, y_train, y_test = train_test_split(project.X, project.y, test_size=0.2, random_state=42)
    model = LinearRegression().fit(X_train, y_train)
    brought = library.register("y", model, train=(X_train, y_train), test=(X_test, y_test))
    assert brought.number == 2
    assert brought.metrics["mse"]["value"] == pytest.approx(by_hand(Path("data.csv")), rel=1e-9)
    assert brought.deploy().after == 2
    report = project.monitor(X_test, y_test)
    assert report.scores["mse"].value == pytest.approx(by_hand(Path("data.csv")), rel=1e-9)
    assert "not monitoring" in str(report)
    assert brought.predict({"a": 0.5, "b": 5.0}).values[0] == pytest.approx(float(model.predict([[0.5, 5.0]])[0]))
