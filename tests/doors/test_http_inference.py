"""Predictions over HTTP: the Open Inference Protocol, plain named rows, versions by number, Chinese names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import serving_scenes as scenes
from asgi_client import Client

from trimtab.doors import server
from trimtab.doors.desk import Desk
from trimtab.errors import Busy
from trimtab.workspace import Workspace

ROW = {"年龄": 90, "城市": "上海", "member": True, "joined": "2001-03-04"}
CREDIT = "/v2/models/" + quote("信用")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    ws: Workspace = scenes.workspace(tmp_path_factory.mktemp("http"))
    scenes.linear(ws)
    scenes.constant(ws, 7.0)
    scenes.mixed_classifier(ws)
    ws.rollouts.deploy("risk", 1, by="ada")
    ws.rollouts.deploy("信用", 1, by="ada")
    engine = server.make_engine(ws)
    engine.start()
    with Client(server.build_app(ws, engine), base_url="http://localhost:8000") as made:
        yield made
    engine.stop()


def tensors(**columns: list[Any]) -> dict[str, Any]:
    kinds = {bool: "BOOL", str: "BYTES", int: "INT64", float: "FP64"}
    return {"inputs": [{"name": name, "shape": [len(data)], "datatype": kinds[type(data[0])], "data": data}
                       for name, data in columns.items()]}


def matrix(data: list[Any], shape: list[int], **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "input", "shape": shape, "datatype": "FP64", "data": data, **more}]}


def test_the_server_says_what_it_is_and_that_it_is_ready(client: Client) -> None:
    """GET /v2, live, ready, per model and per version."""
    assert client.get("/v2").json()["name"] == "trimtab"
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/risk/ready").json() == {"name": "risk", "ready": True, "version": "1"}
    assert client.get("/v2/models/risk/versions/2/ready").json()["version"] == "2"
    assert client.get("/v2/models/nobody/ready").status_code == 404


def test_metadata_names_a_tensor_per_column_and_one_matrix_where_all_are_numbers(client: Client) -> None:
    """-1 stands for any number of rows."""
    told = client.get("/v2/models/risk").json()
    assert told["versions"] == ["1", "2"]
    assert told["inputs"][0]["shape"] == [-1, 2]
    assert [(each["name"], each["datatype"]) for each in told["inputs"][1:]] == [("rate", "FP64"), ("volume", "FP64")]
    mixed = client.get(CREDIT).json()
    assert [(each["name"], each["datatype"]) for each in mixed["inputs"]] == [
        ("年龄", "FP64"), ("城市", "BYTES"), ("member", "BOOL"), ("joined", "BYTES"), ("note", "BYTES")]
    assert mixed["outputs"] == [
        {"name": "predict", "datatype": "BYTES", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP64", "shape": [-1, 2], "parameters": {"classes": ["低", "高"]}}]


@pytest.mark.parametrize("body", [
    matrix([1.0, 0.5, 2.0, None], [2, 2]),
    matrix([[1.0, 0.5], [2.0, None]], [2, 2]),
    tensors(rate=[1.0, 2.0], volume=[0.5, None]),
    {"inputs": [{"name": "rate", "shape": [2, 1], "datatype": "FP32", "data": [[1.0], [2.0]]},
                {"name": "volume", "shape": [2], "datatype": "FP64", "data": [0.5, None]}]},
    {"inputs": [{"name": "input-0", "shape": [2, 2], "datatype": "FP64", "data": [1, 0.5, 2, None]}]},
])
def test_every_spelling_of_the_same_rows_gets_the_same_answer(client: Client, body: dict[str, Any]) -> None:
    """Flat or nested, a matrix or columns; the id comes back, each row gets an id of its own."""
    made = client.post("/v2/models/risk/versions/2/infer", json={**body, "id": "abc"})
    assert made.status_code == 200, made.text
    told = made.json()
    assert (told["model_name"], told["model_version"], told["id"]) == ("risk", "2", "abc")
    assert told["outputs"] == [{"name": "predict", "datatype": "FP64", "shape": [2], "data": [7.0, 7.0]}]
    assert told["parameters"]["version"] == 2
    assert len(set(told["parameters"]["prediction_ids"])) == 2
    assert all(name.startswith("p-") for name in told["parameters"]["prediction_ids"])


def test_the_live_version_answers_with_the_models_own_numbers(client: Client) -> None:
    """score = 2 · rate + volume."""
    made = client.post("/v2/models/risk/infer", json=matrix([1.0, 0.5], [1, 2])).json()
    assert made["model_version"] == "1"
    assert "id" not in made
    assert made["outputs"][0]["data"] == pytest.approx([2.5])


def test_chinese_columns_labels_and_model_names_work_from_end_to_end(client: Client) -> None:
    """Percent-encoded UTF-8 in the address, UTF-8 in the body."""
    made = client.post(CREDIT + "/infer", json=tensors(年龄=[90, 10], 城市=["上海", "北京"], member=[True, False],
                                                      joined=["2001-03-04", "2010-01-01T00:00:00"]))
    assert made.status_code == 200, made.text
    told = made.json()
    assert told["model_name"] == "信用"
    assert told["outputs"][0] == {"name": "predict", "datatype": "BYTES", "shape": [2], "data": ["高", "低"]}
    assert told["outputs"][1]["shape"] == [2, 2]
    assert sum(told["outputs"][1]["data"]) == pytest.approx(2.0)
    one = tensors(年龄=[90], 城市=["上海"], member=[True], joined=["2001-03-04"])
    only = client.post(CREDIT + "/infer", json={**one, "outputs": [{"name": "probabilities"}]}).json()
    assert [each["name"] for each in only["outputs"]] == ["probabilities"]


@pytest.mark.parametrize("body", [{"rows": [ROW]}, [ROW], ROW])
def test_plain_rows_are_answered_by_name(client: Client, body: Any) -> None:
    """An envelope, a bare list, or one object."""
    told = client.post("/api/models/" + quote("信用") + "/predict", json=body).json()
    assert told["schema"] == "trimtab.predictions/1"
    assert (told["model"], told["version"]) == ("信用", 1)
    (one,) = told["predictions"]
    assert one["value"] == "高"
    assert set(one["probabilities"]) == {"低", "高"}
    assert one["id"].startswith("p-")


def test_a_broken_contract_is_422_with_every_reason(client: Client) -> None:
    """In the shape of the protocol that was spoken."""
    made = client.post("/v2/models/risk/infer", json=matrix([99.0, 1.0, 1.0, 1.0, None, 1.0], [3, 2]))
    assert made.status_code == 422
    told = made.json()
    assert isinstance(told["error"], str)
    assert [(each["row"], each["column"], each["rule"]) for each in told["violations"]] == [
        (1, "rate", "max"), (3, "rate", "missing")]
    ours = client.post("/api/models/risk/predict", json=[{"rate": 99}])
    assert ours.status_code == 422
    assert ours.json()["schema"] == "trimtab.error/1"
    assert ours.json()["error"]["violations"][0]["rule"] == "max"


def test_no_rows_are_an_answer_too(client: Client) -> None:
    """Nothing asked, nothing predicted, no error."""
    assert client.post("/v2/models/risk/infer", json=matrix([], [0, 2])).json()["outputs"][0]["data"] == []
    assert client.post("/api/models/risk/predict", json=[]).json()["predictions"] == []


def test_overload_is_shed_with_503_and_a_time_to_come_back(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never 500 or 400."""
    async def full(self: Desk, work: object) -> None:
        raise Busy("too many requests wait already; try again in a moment")

    monkeypatch.setattr(Desk, "predict", full)
    made = client.post("/v2/models/risk/infer", json=matrix([1.0, 0.5], [1, 2]))
    assert (made.status_code, made.headers["retry-after"]) == (503, "1")


def test_ten_thousand_rows_are_the_limit(client: Client) -> None:
    """At the limit answered, one over refused before anything is predicted."""
    assert client.post("/v2/models/risk/infer", json=matrix([0.0] * 20_000, [10_000, 2])).status_code == 200
    over = client.post("/v2/models/risk/infer", json=matrix([0.0] * 20_002, [10_001, 2]))
    assert over.status_code == 413
    assert "10,001 rows are over the limit of 10,000" in over.json()["error"]
    rows = client.post("/api/models/risk/predict", json=[{"rate": 0.0}] * 10_001)
    assert rows.status_code == 413


def test_health_says_what_is_live_and_whether_the_store_is_reached(tmp_path: Path) -> None:
    """A version that could not be loaded is named with its reason, and what serves instead."""
    ws = scenes.workspace(tmp_path)
    scenes.constant(ws, 1.0)
    version = scenes.constant(ws, 2.0)
    ws.rollouts.deploy("risk", 1, by="ada")
    engine = server.make_engine(ws)
    engine.refresh()
    ws.rollouts.promote("risk", 2, by="ada")
    with ws.blobs.open(version.manifest.files["model.skops"]) as source:
        path = Path(source.name)
    path.chmod(0o600)
    path.write_bytes(b"damaged")
    engine.refresh()
    with Client(server.build_app(ws, engine), base_url="http://127.0.0.1") as client:
        told = client.get("/v2/health").json()
        assert told["store"] == "reached"
        assert told["endpoints"] == [{"model": "risk", "endpoint": "production", "version": 1, "warning": "",
                                          "beside": None, "fallback": None}]
        (failed,) = told["failed"]
        assert (failed["version"], failed["serving"]) == (2, 1)
        assert "risk@v2" in failed["reason"]
        assert client.get("/v2/health/ready").status_code == 200
        assert client.get("/api/status").json()["server"]["failed"] == told["failed"]
