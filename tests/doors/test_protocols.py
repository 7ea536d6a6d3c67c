"""Every protocol is a spelling of the same question: bytes, TensorFlow Serving's rows and columns, MLflow's tables."""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
import serving_scenes as scenes
from asgi_client import Client
from hypothesis import given
from hypothesis import strategies as st

from trimtab.doors import server
from trimtab.doors.desk import Desk
from trimtab.doors.inference import binary
from trimtab.errors import StoreUnreachable
from trimtab.registry.aliases import Aliases
from trimtab.registry.versions import Versions
from trimtab.workspace import Workspace

CREDIT = quote("信用")
MIXED = {"年龄": 90, "城市": "上海", "member": True, "joined": "2001-03-04", "note": "a"}
OCTETS = "application/octet-stream"


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = scenes.workspace(tmp_path_factory.mktemp("protocols"))
    scenes.linear(made)
    scenes.constant(made, 7.0)
    scenes.mixed_classifier(made)
    made.rollouts.deploy("risk", 1, by="ada")
    made.rollouts.deploy("信用", 1, by="ada")
    made.aliases.set("risk", "next", 2, by="ada")
    return made


@pytest.fixture(scope="module")
def client(ws: Workspace) -> Iterator[Client]:
    engine = server.make_engine(ws)
    engine.start()
    with Client(server.build_app(Desk(ws, engine, default="risk")), base_url="http://localhost:8000") as made:
        yield made
    engine.stop()


def infer(client: Client, head: dict[str, Any], *tail: bytes, model: str = "risk", **more: Any) -> httpx.Response:
    """An inference request in the binary form."""
    text = json.dumps(head).encode()
    return client.post(f"/v2/models/{model}/infer", content=text + b"".join(tail), headers={
        "content-type": OCTETS, binary.HEADER: str(len(text)), **more})


def raw(name: str, shape: list[int], datatype: str, sent: bytes, **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": len(sent)}, **more}


def outputs_of(made: httpx.Response) -> tuple[dict[str, Any], bytes]:
    """The JSON of a binary answer and the bytes after it."""
    assert made.status_code == 200, made.text
    length = int(made.headers[binary.HEADER])
    return json.loads(made.content[:length]), made.content[length:]


# ── the binary tensor extension ──

def test_the_server_announces_its_extensions(client: Client) -> None:
    """A client looks here before it sends bytes."""
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data", "model_repository"]


@pytest.mark.parametrize(("datatype", "kind"), [("FP64", "<f8"), ("FP32", "<f4"), ("FP16", "<f2"), ("INT64", "<i8"),
                                                ("INT8", "i1"), ("UINT16", "<u2")])
def test_a_matrix_of_bytes_is_answered_in_bytes(client: Client, datatype: str, kind: str) -> None:
    """score = 2 · rate + volume, for two rows, in every width."""
    data = np.array([[1, 5], [2, 3]], dtype=kind).tobytes()
    head, tail = outputs_of(infer(client, {"id": "7", "inputs": [raw("input", [2, 2], datatype, data)],
                                           "parameters": {"binary_data_output": True}}, data))
    (output,) = head["outputs"]
    assert (head["id"], output["parameters"], "data" in output) == ("7", {"binary_data_size": 16}, False)
    assert np.frombuffer(tail, "<f8").tolist() == pytest.approx([7.0, 7.0])


def test_columns_may_mix_bytes_and_json_and_each_output_is_asked_for_by_itself(client: Client) -> None:
    """Lengths of four bytes before categories, a byte for BOOL; labels come back as bytes, chances as JSON."""
    ages, cities = struct.pack("<2q", 90, 10), binary.pack("BYTES", ["上海", "北京"])
    head, tail = outputs_of(infer(client, {
        "inputs": [raw("年龄", [2], "INT64", ages), raw("城市", [2, 1], "BYTES", cities),
                   raw("member", [2], "BOOL", b"\x01\x00"),
                   {"name": "joined", "shape": [2], "datatype": "BYTES", "data": ["2001-03-04", "2010-01-01"]}],
        "outputs": [{"name": "predict", "parameters": {"binary_data": True}}, {"name": "probabilities"}],
    }, ages, cities, b"\x01\x00", model=CREDIT))
    assert binary.unpack("predict", "BYTES", [2], tail) == ["高", "低"]
    assert len(head["outputs"][1]["data"]) == 4


def test_nan_in_bytes_is_a_missing_value(client: Client) -> None:
    """As null is in JSON: allowed for volume, refused for rate."""
    rates, gap = struct.pack("<d", 1.0), struct.pack("<d", float("nan"))
    made = infer(client, {"inputs": [raw("rate", [1], "FP64", gap), raw("volume", [1], "FP64", rates)]}, gap, rates)
    assert made.status_code == 422
    assert [(one["column"], one["rule"]) for one in made.json()["violations"]] == [("rate", "missing")]


EIGHT = struct.pack("<d", 1.0)


@pytest.mark.parametrize(("inputs", "tail", "words"), [
    ([raw("rate", [2], "FP64", EIGHT)], EIGHT, "means 16 bytes, and there are 8"),
    ([raw("rate", [1], "FP64", EIGHT * 2)], EIGHT, "binary_data_size is 16, and 8 bytes are left"),
    ([raw("rate", [1], "FP64", EIGHT)], EIGHT * 2, "8 bytes are left after the last tensor"),
    ([raw("rate", [1], "FP64", EIGHT, data=[1.0])], EIGHT, "data or binary_data_size, not both"),
    ([raw("rate", [-1], "FP64", EIGHT)], EIGHT, "must be whole numbers from 0 on"),
    ([raw("rate", [], "FP64", EIGHT)], EIGHT, "must be whole numbers from 0 on"),
    ([raw("rate", [1], "BYTES", b"\x09\0\0\0a")], b"\x09\0\0\0a", "element 0 is longer than the bytes"),
    ([raw("rate", [1], "BYTES", b"\x01\0")], b"\x01\0", "element 0 is longer than the bytes"),
    ([raw("rate", [1], "BYTES", b"\x01\0\0\0\xff")], b"\x01\0\0\0\xff", "element 0 is not UTF-8"),
    ([raw("rate", [2], "BYTES", b"\x01\0\0\0a")], b"\x01\0\0\0a", "means 2 elements, and the bytes hold 1"),
    ([raw("rate", [1], "BOOL", b"\x02")], b"\x02", "a BOOL is one byte, 0 or 1"),
    ([{"name": "rate", "shape": [1], "datatype": "FP64"}], b"", "missing required field data"),
    ([{"name": "rate", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": True}}], EIGHT,
     "binary_data_size is True"),
    ([{"name": "rate", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": -8}}], EIGHT,
     "binary_data_size is -8"),
])
def test_bytes_that_do_not_fit_are_told_what_is_wrong(client: Client, inputs: list[Any], tail: bytes,
                                                      words: str) -> None:
    """400 and {"error": text}."""
    made = infer(client, {"inputs": inputs}, tail)
    assert words in made.json()["error"]
    assert made.status_code == 400


@pytest.mark.parametrize("length", ["-1", "9999", "x", "²", ""])
def test_the_length_of_the_json_must_fit_the_body(client: Client, length: str) -> None:
    """The header is read like anything from outside."""
    made = client.post("/v2/models/risk/infer", content=b"{}", headers={
        "content-type": OCTETS, binary.HEADER: length.encode()})
    assert (made.status_code, binary.HEADER in made.json()["error"]) == (400, True)


def test_binary_output_is_true_or_false(client: Client) -> None:
    """And nothing that could mean either."""
    body = {"inputs": [{"name": "input", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0]}],
            "parameters": {"binary_data_output": "yes"}}
    made = client.post("/v2/models/risk/infer", json=body)
    assert (made.status_code, made.json()["error"]) == (400, "binary_data_output is true or false, not yes")


# ── the repository extension ──

def test_the_index_lists_what_answers(client: Client) -> None:
    """With an empty body, an empty object, or only what is ready."""
    held = [{"name": "risk", "version": "1", "state": "READY", "reason": ""},
            {"name": "信用", "version": "1", "state": "READY", "reason": ""}]
    assert client.post("/v2/repository/index").json() == held
    assert client.post("/v2/repository/index", json={"ready": True}).json() == held


def test_loading_and_unloading_are_rollouts(client: Client) -> None:
    """What is live may be "loaded"; nothing is changed behind the journal's back."""
    assert client.post("/v2/repository/models/risk/load").status_code == 200
    assert client.post("/v2/repository/models/rsik/load").status_code == 404
    refused = client.post("/v2/repository/models/risk/unload", json={"parameters": {"unload_dependents": False}})
    assert (refused.status_code, "trimtab rollback" in refused.json()["error"]) == (409, True)
    assert client.post("/v2/repository/models/risk/load", json={"parameters": {"config": "{}"}}).status_code == 400


def test_a_version_that_could_not_be_loaded_stands_in_the_index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With its reason, beside the version that serves on; TensorFlow Serving's status says it too."""
    ws = scenes.workspace(tmp_path_factory.mktemp("broken"))
    scenes.constant(ws, 1.0)
    version = scenes.constant(ws, 2.0)
    ws.rollouts.deploy("risk", 1, by="ada")
    engine = server.make_engine(ws)
    engine.refresh()
    ws.rollouts.promote("risk", 2, by="ada")
    ws.blobs.delete(version.manifest.files["model.skops"])
    engine.refresh()
    with Client(server.build_app(Desk(ws, engine))) as client:
        good, bad = client.post("/v2/repository/index").json()
        assert (good["version"], good["state"], bad["version"], bad["state"]) == ("1", "READY", "2", "UNAVAILABLE")
        assert "risk@v2" in bad["reason"]
        assert len(client.post("/v2/repository/index", json={"ready": True}).json()) == 1
        first, second = client.get("/v1/models/risk").json()["model_version_status"]
        assert (first["version"], first["state"], first["status"]["error_code"]) == ("2", "END", "UNKNOWN")
        assert (second["version"], second["state"]) == ("1", "AVAILABLE")


# ── TensorFlow Serving ──

@pytest.mark.parametrize("body", [
    {"instances": [{"rate": 1.0, "volume": 0.5}, {"rate": [2.0], "volume": 1}]},
    {"instances": [[1.0, 0.5], [2.0, 1.0]], "signature_name": "serving_default"},
    {"inputs": {"rate": [1.0, 2.0], "volume": [[0.5], [1.0]]}},
    {"inputs": [[1.0, 0.5], [2.0, 1.0]]},
])
@pytest.mark.parametrize("which", ["", "/versions/1", "/labels/champion"])
def test_rows_and_columns_of_tensorflow_serving(client: Client, body: dict[str, Any], which: str) -> None:
    """`instances` are answered with `predictions`, `inputs` with `outputs`."""
    made = client.post(f"/v1/models/risk{which}:predict", json=body)
    assert made.status_code == 200, made.text
    told = made.json()
    assert told["predictions" if "instances" in body else "outputs"] == pytest.approx([2.5, 5.0])
    assert told["parameters"]["version"] == 1
    assert all(name.startswith("p-") for name in told["parameters"]["prediction_ids"])


def test_labels_of_tensorflow_serving_are_aliases(client: Client) -> None:
    """`next` is version 2, which always answers 7."""
    made = client.post("/v1/models/risk/labels/next:predict", json={"instances": [[0, 0]]})
    assert made.json()["predictions"] == [7.0]
    assert client.post("/v1/models/risk/labels/nobody:predict", json={"instances": [[0, 0]]}).status_code == 404


def test_a_classifier_answers_tensorflow_serving_with_labels_and_probabilities(client: Client) -> None:
    """:predict has both, :classify every class with its share; text may come as base64."""
    coded = {**MIXED, "城市": {"b64": b64encode("上海".encode()).decode()}}
    (row,) = client.post(f"/v1/models/{CREDIT}:predict", json={"instances": [coded]}).json()["predictions"]
    assert row["predict"] == "高"
    columns = client.post(f"/v1/models/{CREDIT}:predict", json={"inputs": {k: [v] for k, v in coded.items()}}).json()
    assert columns["outputs"] == {"predict": ["高"], "probabilities": [row["probabilities"]]}
    made = client.post(f"/v1/models/{CREDIT}:classify", json={"context": MIXED, "examples": [{}, {"年龄": 10}]}).json()
    first, second = made["results"]
    assert first == [["低", row["probabilities"][0]], ["高", row["probabilities"][1]]]
    assert second[0][1] > first[0][1]
    assert client.post(f"/v1/models/{CREDIT}:regress", json={"examples": [MIXED]}).status_code == 400


def test_a_regression_answers_regress_and_not_classify(client: Client) -> None:
    """`examples` in, `results` out."""
    asked = {"examples": [{"rate": 1.0, "volume": 0.5}]}
    assert client.post("/v1/models/risk:regress", json=asked).json()["results"] == pytest.approx([2.5])
    refused = client.post("/v1/models/risk:classify", json=asked)
    assert (refused.status_code, "ask it with :predict" in refused.json()["error"]) == (400, True)


def test_nan_and_infinity_are_tokens_to_tensorflow_serving(client: Client) -> None:
    """NaN is missing, which the contract allows for volume; Infinity is no number."""
    made = client.post("/v1/models/risk/versions/2:predict", content=b'{"instances": [{"rate": 1, "volume": NaN}]}')
    assert made.json()["predictions"] == [7.0]
    made = client.post("/v1/models/risk:predict", content=b'{"instances": [{"rate": -Infinity, "volume": 1}]}')
    assert (made.status_code, made.json()["violations"][0]["rule"]) == (422, "finite")


def test_status_and_metadata_of_tensorflow_serving(client: Client) -> None:
    """Newest first; a column is a tensor."""
    told = client.get("/v1/models/risk").json()["model_version_status"]
    assert [(one["version"], one["state"], one["status"]["error_code"]) for one in told] == [
        ("2", "AVAILABLE", "OK"), ("1", "AVAILABLE", "OK")]
    assert len(client.get("/v1/models/risk/versions/2").json()["model_version_status"]) == 1
    assert client.get("/v1/models/risk/labels/next").json()["model_version_status"][0]["version"] == "2"
    told = client.get(f"/v1/models/{CREDIT}/metadata").json()
    assert told["model_spec"] == {"name": "信用", "signature_name": "", "version": "1"}
    signature = told["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert {name: one["dtype"] for name, one in signature["inputs"].items()} == {
        "年龄": "DT_DOUBLE", "城市": "DT_STRING", "member": "DT_BOOL", "joined": "DT_STRING", "note": "DT_STRING"}
    assert [size["size"] for size in signature["outputs"]["probabilities"]["tensor_shape"]["dim"]] == ["-1", "2"]


# ── MLflow ──

SPLIT = {"columns": ["volume", "rate"], "data": [[0.5, 1.0], [1.0, 2.0]]}
TABLES: list[dict[str, Any]] = [
    {"dataframe_split": SPLIT}, {"dataframe_split": {**SPLIT, "index": [7, 8]}},
    {"dataframe_split": {"data": [[1.0, 0.5], [2.0, 1.0]]}},
    {"dataframe_records": [{"rate": 1.0, "volume": 0.5, "extra": "dropped"}, {"rate": 2.0, "volume": 1.0}]},
    {"instances": [[1.0, 0.5], [2.0, 1.0]]}, {"inputs": [[1.0, 0.5], [2.0, 1.0]]},
    {"inputs": {"rate": [1.0, 2.0], "volume": [0.5, 1.0]}, "params": {}},
]


@pytest.mark.parametrize("address", ["/invocations", "/invocations/risk"])
@pytest.mark.parametrize("body", TABLES)
def test_the_tables_of_mlflow(client: Client, body: dict[str, Any], address: str) -> None:
    """Exactly one of four forms; the model is the default one, or in the path."""
    made = client.post(address, json=body)
    assert made.status_code == 200, made.text
    assert made.json()["predictions"] == pytest.approx([2.5, 5.0])


def test_csv_to_mlflow(client: Client) -> None:
    """Typed as the contract says; an empty cell is missing, a column that is not known is dropped."""
    text = "年龄,城市,member,joined,note,extra\n90,上海,true,2001-03-04,,1\n10,北京,False,2010-01-01,b,2\n"
    made = client.post(f"/invocations/{CREDIT}", content="\ufeff".encode() + text.encode(),
                       headers={"content-type": "text/csv; charset=utf-8"})
    assert made.json().get("predictions") == ["高", "低"], made.text


def test_probabilities_from_mlflow(client: Client) -> None:
    """`params` may ask for them."""
    asked = {"dataframe_records": [MIXED], "params": {"predict_method": "predict_proba"}}
    ((no, yes),) = client.post(f"/invocations/{CREDIT}", json=asked).json()["predictions"]
    assert no + yes == pytest.approx(1.0)
    refused = client.post("/invocations/risk", json={**asked, "dataframe_records": [{"rate": 1.0, "volume": 1.0}]})
    assert refused.status_code == 400


def test_ping_says_whether_all_that_should_answer_does(client: Client) -> None:
    """200 and a word."""
    assert (client.get("/ping").status_code, client.get("/health").status_code) == (200, 200)


def test_the_model_of_invocations_is_the_only_one_that_is_live(ws: Workspace,
                                                                  tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where there are several and no default, the answer says so."""
    engine = server.make_engine(ws)
    engine.refresh()
    with Client(server.build_app(Desk(ws, engine))) as client:
        made = client.post("/invocations", json=TABLES[0])
        assert (made.status_code, made.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert "several models are live" in made.json()["message"]
    alone = scenes.workspace(tmp_path_factory.mktemp("alone"))
    engine = server.make_engine(alone)
    with Client(server.build_app(Desk(alone, engine))) as client:
        engine.refresh()
        assert client.post("/invocations", json=TABLES[0]).status_code == 404
        scenes.constant(alone, 3.0)
        alone.rollouts.deploy("risk", 1, by="ada")
        engine.refresh()
        assert client.post("/invocations", json=TABLES[0]).json()["predictions"] == [3.0, 3.0]


# ── what is wrong, in each protocol's own shape ──

WRONG: list[tuple[str, Any, int, str]] = [
    ("v1", {}, 400, "exactly one of instances, inputs"),
    ("v1", {"instances": [], "inputs": {}}, 400, "the body has instances and inputs"),
    ("v1", {"instances": 5}, 400, "instances is a whole number"),
    ("v1", {"instances": [[1, 2, 3]]}, 400, "instances[0]: 3 values, and the model takes 2: rate, volume"),
    ("v1", {"instances": [5]}, 400, "instances[0]: 1 values"),
    ("v1", {"inputs": {"rate": 1.0}}, 400, "inputs.rate: a list with a value a row"),
    ("v1", {"inputs": {"rate": [1.0], "volume": [1.0, 2.0]}}, 400, "different numbers of rows ([1, 2])"),
    ("v1", {"instances": [[1, 2]], "signature_name": "mine"}, 400, "no signature 'mine'"),
    ("v1", {"instances": [{"rate": {"b64": "?"}, "volume": 1}]}, 400, "rate: b64 holds base64"),
    ("v1", {"instances": [{"rate": {"b64": 5}, "volume": 1}]}, 400, "rate: b64 holds base64"),
    ("v1", {"instances": [[[1, 2], 3]]}, 422, "rate = [1, 2] is a list"),
    ("v1", {"instances": [{"rate": 1, "volume": 1, "zzz": 1}]}, 422, "zzz is not a column"),
    ("v1", {"instances": [[99, 1]]}, 422, "rate = 99 is above the contract's max"),
    ("v1", {"instances": [[1, 1]] * 10_001}, 413, "10,001 rows are over the limit"),
    ("v1", '{"instances": []}'.encode("utf-16"), 400, "not JSON"),
    ("v1", b"{", 400, "not JSON"), ("v1", b"", 400, "the body is empty"), ("v1", b"\xff", 400, "not JSON"),
    ("v1", b"[" * 65 + b"]" * 65, 413, "nests deeper than 64"), ("v1", [], 400, "the body is a list"),
    ("v1", b'{"instances": [], "instances": []}', 400, "appears twice"),
    ("v1", b'{"instances": [[' + b"1" * 5000 + b", 1]]}", 400, "not JSON"),
    ("v1", b'{"instances": [[1e999, 1]]}', 422, "not a finite number"),
    ("mlflow", {}, 400, "exactly one of dataframe_split, dataframe_records, instances, inputs"),
    ("mlflow", {"inputs": [], "instances": []}, 400, "the body has instances and inputs"),
    ("mlflow", {"dataframe_split": {"columns": ["a", "a"], "data": []}}, 400, "a name comes twice"),
    ("mlflow", {"dataframe_split": {"columns": ["rate"], "data": [[1, 2]]}}, 400, "data[0]: 2 values for 1 columns"),
    ("mlflow", {"dataframe_records": [[1, 2]]}, 400, "dataframe_records[0] is a list"),
    ("mlflow", {"instances": [[1, 1]], "params": {"temperature": 1}}, 400, "a field 'temperature' that is not known"),
    ("mlflow", {"dataframe_records": [{"rat": 1.0, "volume": 1.0}]}, 422, "rate is absent"),
    ("mlflow", {"instances": [[1, 1]] * 10_001}, 413, "10,001 rows are over the limit"),
]


@pytest.mark.parametrize(("protocol", "body", "status", "words"), WRONG)
def test_what_is_wrong_is_told_in_the_protocols_own_shape(client: Client, protocol: str, body: Any, status: int,
                                                          words: str) -> None:
    """{"error"} to TensorFlow Serving's clients, {"error_code", "message"} to MLflow's; rows bring their reasons."""
    address = "/v1/models/risk:predict" if protocol == "v1" else "/invocations"
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    made = client.post(address, content=text, headers={"content-type": "application/json"})
    told = made.json()
    assert words in told["error" if protocol == "v1" else "message"]
    assert made.status_code == status
    assert protocol == "v1" or told["error_code"] == "INVALID_PARAMETER_VALUE"
    assert ("violations" in told) is (status == 422)


@pytest.mark.parametrize(("text", "words"), [
    (b"", "the body is empty"), (b"rate,rate\n1,2\n", "names a column twice"), (b"rate,volume\n1\n", "has 1 cells"),
    (b'rate,volume\n"1,2\n', "not CSV"), (b"\xff\xfe", "not in UTF-8"),
])
def test_csv_that_is_none(client: Client, text: bytes, words: str) -> None:
    """400, and a sentence."""
    made = client.post("/invocations", content=text, headers={"content-type": "text/csv"})
    assert (made.status_code, words in made.json()["message"]) == (400, True), made.text


@pytest.mark.parametrize(("method", "path", "kind", "status", "shape"), [
    ("POST", "/v1/models/rsik:predict", "application/json", 404, "error"),
    ("POST", "/v1/models/risk/versions/9:predict", "application/json", 404, "error"),
    ("POST", "/v1/models/risk/versions/x:predict", "application/json", 404, "error"),
    ("POST", "/v1/models/risk:explain", "application/json", 405, "error"),
    ("POST", "/v1/models/risk:predict", "text/plain", 415, "error"),
    ("POST", "/v1/models/risk:predict", "application/octet-stream", 415, "error"),
    ("GET", "/v1/models/rsik", "", 404, "error"),
    ("GET", "/v1/models/rsik/metadata", "", 404, "error"),
    ("POST", "/v2/repository/index", "text/plain", 415, "error"),
    ("POST", "/v2/models/risk/infer", "text/csv", 415, "error"),
    ("POST", "/invocations/rsik", "application/json", 404, "message"),
    ("POST", "/invocations", "text/plain", 415, "message"),
    ("POST", "/invocations", "application/x-www-form-urlencoded", 415, "message"),
    ("GET", "/invocations", "", 405, "message"),
])
def test_addresses_and_kinds_that_are_refused(client: Client, method: str, path: str, kind: str, status: int,
                                              shape: str) -> None:
    """The shape is the protocol's also where no route was reached."""
    body = b'{"instances": [[1, 2]]}' if method == "POST" else b""
    made = client.request(method, path, content=body, headers={"content-type": kind} if kind else {})
    assert (made.status_code, isinstance(made.json()[shape], str)) == (status, True), made.text


@pytest.mark.parametrize("path", ["/v1/models/risk:predict", "/invocations", "/v2/repository/models/risk/load"])
def test_a_page_of_another_site_is_refused_whatever_kind_it_sends(client: Client, path: str) -> None:
    """These take bodies that are not JSON, so a browser would send them unasked; it says who asked."""
    for header in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        kind = {"content-type": "application/x-www-form-urlencoded"}
        assert client.post(path, content=b'{"instances": [[1, 2]]}', headers={**header, **kind}).status_code == 403


def test_a_body_over_the_bound_is_refused_in_every_protocol(client: Client) -> None:
    """16 MiB, as for /v2."""
    for path, shape in (("/v1/models/risk:predict", "error"), ("/invocations", "message")):
        made = client.post(path, content=b" " * (16 << 20) + b"  ", headers={"content-type": "application/json"})
        assert (made.status_code, "limit" in made.json()[shape]) == (413, True)


def test_with_the_store_away_what_is_live_answers_in_every_protocol(client: Client,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what must be looked up is 503, in the protocol's shape: labels are aliases, which are in the store."""
    def away(*_: object, **__: object) -> None:
        raise StoreUnreachable("the database can't be reached; try again")

    monkeypatch.setattr(Versions, "list", away)
    monkeypatch.setattr(Aliases, "resolve", away)
    assert client.post("/v1/models/risk:predict", json={"instances": [[1.0, 0.5]]}).status_code == 200
    assert client.post("/invocations", json=TABLES[0]).status_code == 200
    assert client.post("/v2/repository/index").status_code == 200
    assert [one["version"] for one in client.get("/v1/models/risk").json()["model_version_status"]] == ["1"]
    made = client.post("/v1/models/risk/labels/next:predict", json={"instances": [[1.0, 0.5]]})
    assert (made.status_code, made.headers["retry-after"]) == (503, "1")
    assert made.json() == {"error": "the database can't be reached; try again"}


# ── one answer ──

ROWS = st.lists(st.fixed_dictionaries({
    "rate": st.floats(-10, 10), "volume": st.floats(-1e300, 1e300)}), min_size=1, max_size=4)


@given(ROWS)
def test_a_row_has_one_answer_whatever_the_protocol(client: Client, rows: list[dict[str, float]]) -> None:
    """All 64 bits of it, through every door; numbers are sent as JSON, as bytes and as CSV."""
    columns = {name: [row[name] for row in rows] for name in ("rate", "volume")}
    matrix = [[row["rate"], row["volume"]] for row in rows]
    data, count = np.array(matrix).tobytes(), len(rows)
    _, tail = outputs_of(infer(client, {"inputs": [raw("input", [count, 2], "FP64", data)],
                                        "parameters": {"binary_data_output": True}}, data))
    text = "rate,volume\n" + "".join(f"{rate!r},{volume!r}\n" for rate, volume in matrix)
    answers = {
        "rows": [one["value"] for one in client.post("/api/models/risk/predict", json=rows).json()["predictions"]],
        "v2": client.post("/v2/models/risk/infer", json={"inputs": [
            {"name": "input", "shape": [count, 2], "datatype": "FP64", "data": matrix}]}).json()["outputs"][0]["data"],
        "v2 columns": client.post("/v2/models/risk/infer", json={"inputs": [
            {"name": name, "shape": [count], "datatype": "FP64", "data": values} for name, values in columns.items()
        ]}).json()["outputs"][0]["data"],
        "instances": client.post("/v1/models/risk:predict", json={"instances": rows}).json()["predictions"],
        "inputs": client.post("/v1/models/risk:predict", json={"inputs": columns}).json()["outputs"],
        "regress": client.post("/v1/models/risk:regress", json={"examples": rows}).json()["results"],
        "records": client.post("/invocations", json={"dataframe_records": rows}).json()["predictions"],
        "split": client.post("/invocations", json={"dataframe_split": {
            "columns": ["rate", "volume"], "data": matrix}}).json()["predictions"],
        "csv": client.post("/invocations", content=text, headers={"content-type": "text/csv"}).json()["predictions"],
    }
    bits = {name: np.array(values, dtype="<f8").tobytes() for name, values in answers.items()}
    assert bits == dict.fromkeys(answers, tail)
