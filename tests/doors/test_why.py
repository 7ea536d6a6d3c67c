"""A prediction says why, in its answer and later, and is answered again, over HTTP and from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from asgi_client import Client
from tests.cli.conftest import write_linear

from trimtab.doors import server
from trimtab.doors.cli.replay import explain_prediction
from trimtab.doors.desk import Desk
from trimtab.doors.inference import lane
from trimtab.errors import TrimtabError
from trimtab.project import story
from trimtab.traffic.log import TrafficLog
from trimtab.workspace import Workspace

ROW = {"a": 0.1, "b": 5.0}
WHY = {"parameters": {"explain": True}}
INPUTS = {"inputs": [{"name": name, "shape": [1], "datatype": "FP64", "data": [value]} for name, value in ROW.items()]}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    root = tmp_path_factory.mktemp("why")
    write_linear(root / "data.csv", rows=120)
    with Workspace.open(root / ".trimtab", create=True, actor="ann") as workspace:
        story.run(root / "data.csv", root, workspace, task="regression")
        log = TrafficLog(workspace.folder / "traffic", writer="w-1", now=workspace.clock)
        engine = workspace.engine(record=log.append)
        engine.start()
        yield Desk(workspace, engine)
        engine.stop()
        log.close()


@pytest.fixture(scope="module")
def client(desk: Desk) -> Iterator[Client]:
    with Client(server.build_app(desk), base_url="http://localhost:8000") as made:
        yield made


def summed(told: dict[str, Any]) -> float:
    return float(told["base"] + sum(term["amount"] for term in told["terms"]) + told["rest"])


def test_an_answer_says_why_in_its_parameters(client: Client) -> None:
    """Both protocols, the same terms; they sum to the answer."""
    answer = client.post("/v2/models/y/infer", json={**INPUTS, **WHY}).json()
    (told,) = answer["parameters"]["explanations"]
    assert summed(told) == pytest.approx(answer["outputs"][0]["data"][0], rel=1e-9)
    other = client.post("/api/models/y/predict", json={"rows": [ROW], **WHY}).json()
    assert other["parameters"]["explanations"][0]["terms"] == told["terms"]
    assert "explanations" not in client.post("/v2/models/y/infer", json=INPUTS).json()["parameters"]
    plain = client.post("/api/models/y/predict", json={"rows": [ROW], "parameters": {}}).json()
    assert plain["predictions"][0]["value"] == other["predictions"][0]["value"]
    assert "parameters" not in plain


def test_later_it_says_the_same_and_is_answered_again(client: Client) -> None:
    answer = client.post("/api/models/y/predict", json={"rows": [ROW, ROW], **WHY}).json()
    for one, told in zip(answer["predictions"], answer["parameters"]["explanations"], strict=True):
        later = client.get(f"/api/traffic/{one['id']}/explanation").json()
        assert {key: later[key] for key in told} == told
        again = client.get(f"/api/traffic/{one['id']}/replay").json()
        assert (again["same"], again["predictions"][0]["recorded"]) == (1, one["value"])
    for what in ("explanation", "replay"):
        assert client.get(f"/api/traffic/p-01JD0000000000000000000000/{what}").status_code == 404


@pytest.mark.parametrize(("rows", "why", "status"), [(1, "yes", 400), (17, True, 413)])
def test_what_is_not_explained_is_refused_and_not_recorded(client: Client, desk: Desk, rows: int, why: object,
                                                           status: int) -> None:
    before = desk.workspace.traffic.count()
    body = {"rows": [ROW] * rows, "parameters": {"explain": why}}
    assert client.post("/api/models/y/predict", json=body).status_code == status
    assert desk.workspace.traffic.count() == before


@pytest.mark.parametrize(("answer", "body"), [(lane._predict, {"rows": [ROW], **WHY}),
                                              (lane._infer, {**INPUTS, **WHY})])
def test_the_fast_lane_leaves_it_to_the_routes(desk: Desk, answer: Any, body: Any) -> None:
    before = desk.workspace.traffic.count()
    with pytest.raises(LookupError):
        answer(json.dumps(body).encode())
    assert desk.workspace.traffic.count() == before


def test_the_command_line_tells_the_same(client: Client, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    name = client.post("/api/models/y/predict", json={"rows": [ROW]}).json()["predictions"][0]["id"]

    class Told:
        """A call that is shown to people."""

        def workspace(self) -> Workspace:
            return desk.workspace

        def show(self, value: dict[str, object], render: Any) -> None:
            assert value["schema"] == "trimtab.explanation/1"
            render()

    explain_prediction(Told(), name)           # type: ignore[arg-type]
    out = capsys.readouterr().out
    assert "Next: trimtab replay" in out
    assert max(map(len, out.splitlines())) <= 100
    with pytest.raises(TrimtabError):
        explain_prediction(Told(), "p-none")   # type: ignore[arg-type]
