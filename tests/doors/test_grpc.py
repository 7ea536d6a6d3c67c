"""The Open Inference Protocol over gRPC: the same engine, contract and recorder; errors as gRPC's own statuses."""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import serving_scenes as scenes
from asgi_client import Client
from hypothesis import given
from hypothesis import strategies as st
from running import Running, open_folder

from trimtab.doors import server
from trimtab.doors.desk import Desk
from trimtab.doors.inference import binary, grpc_messages
from trimtab.doors.inference.grpc_door import VIOLATIONS, GrpcDoor
from trimtab.errors import Busy, Conflict, MissingExtra
from trimtab.serving.engine import Engine
from trimtab.traffic.segments import Record

MADE = grpc_messages.CLASSES
RECORDED: list[Record] = []


class Caller:
    """A plain gRPC client of one address."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)

    def __call__(self, method: str, metadata: Any = (), **fields: Any) -> Any:
        call = self._channel.unary_unary(
            f"/{grpc_messages.SERVICE}/{method}", request_serializer=MADE[method + "Request"].SerializeToString,
            response_deserializer=MADE[method + "Response"].FromString)
        return call(MADE[method + "Request"](**fields), timeout=20, metadata=metadata)

    def close(self) -> None:
        self._channel.close()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    ws = scenes.workspace(tmp_path_factory.mktemp("grpc"))
    scenes.linear(ws)
    scenes.constant(ws, 7.0)
    scenes.mixed_classifier(ws)
    ws.rollouts.deploy("risk", 1, by="ada")
    ws.rollouts.deploy("信用", 1, by="ada")
    engine = server.make_engine(ws, RECORDED.append)
    engine.start()
    yield Desk(ws, engine)
    engine.stop()


@pytest.fixture(scope="module")
def call(desk: Desk) -> Iterator[Caller]:
    door = GrpcDoor(desk)
    caller = Caller(door.start("127.0.0.1", 0))
    yield caller
    caller.close()
    door.stop(5.0)


def tensor(name: str, shape: list[int], datatype: str, **contents: Any) -> Any:
    made = MADE["ModelInferRequest.InferInputTensor"](name=name, shape=shape, datatype=datatype)
    if contents:
        made.contents.MergeFrom(MADE["InferTensorContents"](**contents))
    return made


def matrix(*values: float) -> Any:
    return tensor("input", [len(values) // 2, 2], "FP64", fp64_contents=values)


def test_health_and_metadata(call: Caller) -> None:
    """The six methods of the service but infer; -1 is any number of rows."""
    assert call("ServerLive").live
    assert call("ServerReady").ready
    assert call("ModelReady", name="risk").ready
    assert call("ModelReady", name="risk", version="2").ready
    told = call("ServerMetadata")
    assert (told.name, list(told.extensions)) == ("trimtab", ["binary_tensor_data", "model_repository"])
    told = call("ModelMetadata", name="信用")
    assert (told.name, list(told.versions), told.platform) == ("信用", ["1"], "trimtab_sklearn")
    assert [(one.name, one.datatype, list(one.shape)) for one in told.inputs][:2] == [
        ("年龄", "FP64", [-1]), ("城市", "BYTES", [-1])]
    assert [(one.name, list(one.shape)) for one in told.outputs] == [("predict", [-1]), ("probabilities", [-1, 2])]


def test_contents_in_contents_out(call: Caller) -> None:
    """score = 2 · rate + volume; the id comes back, each row gets an id of its own, and is recorded under it."""
    made = call("ModelInfer", model_name="risk", id="abc", inputs=[matrix(1.0, 0.5, 2.0, 1.0)])
    assert (made.model_name, made.model_version, made.id, list(made.raw_output_contents)) == ("risk", "1", "abc", [])
    (output,) = made.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("predict", "FP64", [2])
    assert list(output.contents.fp64_contents) == pytest.approx([2.5, 5.0])
    ids = json.loads(made.parameters["prediction_ids"].string_param)
    assert [row.id for row in RECORDED[-1].rows] == ids
    assert made.parameters["version"].int64_param == 1
    again = call("ModelInfer", model_name="risk", model_version="2", inputs=[matrix(1.0, 0.5)])
    assert list(again.outputs[0].contents.fp64_contents) == [7.0]


def test_raw_in_raw_out(call: Caller) -> None:
    """One tensor a column, text as BYTES, one output only."""
    inputs = [tensor("年龄", [2], "INT32"), tensor("城市", [2, 1], "BYTES"), tensor("member", [2], "BOOL"),
              tensor("joined", [2], "BYTES")]
    raw = [binary.pack("INT32", [90, 10]), binary.pack("BYTES", ["上海", "北京"]), b"\x01\x00",
           binary.pack("BYTES", ["2001-03-04", "2010-01-01"])]
    made = call("ModelInfer", model_name="信用", inputs=inputs, raw_input_contents=raw)
    assert [output.name for output in made.outputs] == ["predict", "probabilities"]
    assert binary.unpack("predict", "BYTES", [2], made.raw_output_contents[0]) == ["高", "低"]
    assert json.loads(made.outputs[1].parameters["classes"].string_param) == ["低", "高"]
    only = call("ModelInfer", model_name="信用", inputs=inputs, raw_input_contents=raw, outputs=[
        MADE["ModelInferRequest.InferRequestedOutputTensor"](name="probabilities")])
    assert [output.name for output in only.outputs] == ["probabilities"]
    assert only.raw_output_contents[0] == made.raw_output_contents[1]


def test_contents_of_every_kind(call: Caller) -> None:
    """Each datatype has its field; labels come back as bytes."""
    made = call("ModelInfer", model_name="信用", inputs=[
        tensor("年龄", [1], "INT64", int64_contents=[90]),
        tensor("城市", [1], "BYTES", bytes_contents=["上海".encode()]),
        tensor("member", [1], "BOOL", bool_contents=[True]),
        tensor("joined", [1], "BYTES", bytes_contents=[b"2001-03-04"])])
    assert list(made.outputs[0].contents.bytes_contents) == ["高".encode()]
    assert len(made.outputs[1].contents.fp64_contents) == 2


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"model_name": "rsik", "inputs": [matrix(1, 2)]}, "NOT_FOUND", "no model 'rsik' is live"),
    ({"model_name": "risk", "model_version": "9", "inputs": [matrix(1, 2)]}, "NOT_FOUND", "no version 9"),
    ({"model_name": "risk", "model_version": "x", "inputs": [matrix(1, 2)]}, "NOT_FOUND", "not a version's number"),
    ({"model_name": "../risk", "inputs": [matrix(1, 2)]}, "INVALID_ARGUMENT", "can't name the model"),
    ({"model_name": "risk"}, "INVALID_ARGUMENT", "send one tensor per column"),
    ({"model_name": "risk", "inputs": [tensor("input", [2, 2], "FP64", fp64_contents=[1, 2])]}, "INVALID_ARGUMENT",
     "means 4 values, and data has 2"),
    ({"model_name": "risk", "inputs": [tensor("input", [-1, 2], "FP64", fp64_contents=[1, 2])]}, "INVALID_ARGUMENT",
     "must be whole numbers from 0 on"),
    ({"model_name": "risk", "inputs": [tensor("input", [1, 2], "FP32", fp64_contents=[1, 2])]}, "INVALID_ARGUMENT",
     "FP32 goes into fp32_contents, not fp64_contents"),
    ({"model_name": "risk", "inputs": [tensor("input", [1, 2], "FP16")]}, "INVALID_ARGUMENT", "raw_input_contents"),
    ({"model_name": "risk", "inputs": [tensor("input", [1, 2], "BF16")]}, "INVALID_ARGUMENT",
     "datatype 'BF16' is none"),
    ({"model_name": "risk", "inputs": [tensor("rate", [1], "BYTES", bytes_contents=[b"\xff"])]}, "INVALID_ARGUMENT",
     "not UTF-8"),
    ({"model_name": "risk", "inputs": [matrix(1, 2)], "raw_input_contents": [b"1234"]}, "INVALID_ARGUMENT",
     "contents or raw_input_contents, not both"),
    ({"model_name": "risk", "inputs": [tensor("input", [1, 2], "FP64")], "raw_input_contents": [b"1234"]},
     "INVALID_ARGUMENT", "means 16 bytes, and there are 4"),
    ({"model_name": "risk", "inputs": [tensor("input", [1, 2], "FP64")], "raw_input_contents": [b"", b""]},
     "INVALID_ARGUMENT", "2 tensors for 1 inputs"),
    ({"model_name": "risk", "inputs": [matrix(*[0.0] * 20_002)]}, "INVALID_ARGUMENT", "10,001 rows are over the limit"),
    ({"model_name": "risk", "inputs": [matrix(1, 2)], "metadata": (("x-trimtab-version", "both"),)},
     "INVALID_ARGUMENT", "neither 'champion' nor 'canary'"),
]


@pytest.mark.parametrize(("asked", "status", "words"), WRONG)
def test_what_is_wrong_has_a_status_and_a_sentence(call: Caller, asked: dict[str, Any], status: str,
                                                   words: str) -> None:
    """What HTTP tells with 4xx."""
    with pytest.raises(grpc.RpcError) as refused:
        call("ModelInfer", **asked)
    assert (refused.value.code().name, words in refused.value.details()) == (status, True), refused.value.details()


def test_a_broken_contract_is_an_invalid_argument_with_its_reasons(call: Caller) -> None:
    """NaN is a missing value. The reasons go along as metadata, a few of them where there are many."""
    with pytest.raises(grpc.RpcError) as refused:
        call("ModelInfer", model_name="risk", inputs=[matrix(99.0, 1.0, float("nan"), 1.0)])
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    told = json.loads(dict(refused.value.trailing_metadata())[VIOLATIONS])
    assert [(one["row"], one["column"], one["rule"]) for one in told] == [(1, "rate", "max"), (2, "rate", "missing")]
    with pytest.raises(grpc.RpcError) as refused:
        call("ModelInfer", model_name="risk", inputs=[matrix(*[99.0] * 20_000)])
    assert len(json.loads(dict(refused.value.trailing_metadata())[VIOLATIONS])) == 20


def test_overload_and_faults_have_statuses_of_their_own(call: Caller, monkeypatch: pytest.MonkeyPatch,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    """UNAVAILABLE means: come back. A fault of ours is told without its insides, and logged with them."""
    for raised, status, words in ((Busy("come back"), "UNAVAILABLE", "come back"),
                                  (ZeroDivisionError("insides"), "INTERNAL", "a fault of ours")):
        def fail(*_: object, raised: Exception = raised) -> None:
            raise raised

        monkeypatch.setattr(Engine, "lineup", fail)
        with pytest.raises(grpc.RpcError) as refused:
            call("ModelInfer", model_name="risk", inputs=[matrix(1.0, 2.0)])
        assert (refused.value.code().name, words in refused.value.details()) == (status, True)
        assert "insides" not in refused.value.details()
    assert "insides" in capsys.readouterr().err


def test_a_method_that_is_not_there_is_unimplemented(call: Caller) -> None:
    """Load and unload, say: what is live is decided by rollouts."""
    method = call._channel.unary_unary(f"/{grpc_messages.SERVICE}/RepositoryModelLoad")
    with pytest.raises(grpc.RpcError) as refused:
        method(b"", timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_taken_port_is_a_conflict(desk: Desk) -> None:
    """And says which option to change."""
    door = GrpcDoor(desk)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Conflict, match="--grpc-port"):
            door.start("127.0.0.1", taken.getsockname()[1])


def test_without_grpcio_the_line_to_type_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra, not a dependency."""
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(MissingExtra, match=re.escape("pip install 'trimtab[grpc]'")):
        GrpcDoor(desk)


ROWS = st.lists(st.tuples(st.floats(-10, 10), st.floats(-1e300, 1e300)), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def over_http(desk: Desk) -> Iterator[Callable[[list[tuple[float, float]]], bytes]]:
    """The bits of the answers to rows, over HTTP."""
    with Client(server.build_app(desk)) as client:
        yield lambda rows: np.array([one["value"] for one in client.post("/api/models/risk/predict", json=[
            {"rate": rate, "volume": volume} for rate, volume in rows]).json()["predictions"]]).tobytes()


@given(ROWS)
def test_a_row_has_one_answer_over_grpc_too(call: Caller, over_http: Callable[[list[tuple[float, float]]], bytes],
                                           rows: list[tuple[float, float]]) -> None:
    """All 64 bits, as contents and raw."""
    plain = call("ModelInfer", model_name="risk", inputs=[matrix(*[value for row in rows for value in row])])
    raw = call("ModelInfer", model_name="risk", inputs=[tensor("input", [len(rows), 2], "FP64")],
               raw_input_contents=[np.array(rows).tobytes()])
    assert np.array(plain.outputs[0].contents.fp64_contents).tobytes() == raw.raw_output_contents[0] == over_http(rows)


# ── a server of its own ──

def test_a_server_that_is_told_to_end_answers_what_came_in_and_swaps_on_the_way() -> None:
    """Six clients call while a version is promoted and SIGTERM comes: each answer is of one version, and what fails
    at the end was not begun (UNAVAILABLE)."""
    with open_folder() as folder:
        ws = scenes.workspace(folder)
        scenes.constant(ws, 1.0)
        scenes.constant(ws, 2.0)
        ws.rollouts.deploy("risk", 1, by="ada")
        ws.close()
        running = Running(folder, grpc=True)
        answers: list[tuple[str, float]] = []
        ends: list[str] = []
        swapped = threading.Event()

        def ask() -> None:
            caller = Caller(running.grpc)
            try:
                while True:
                    made = caller("ModelInfer", model_name="risk", inputs=[matrix(1.0, 2.0)])
                    answers.append((made.model_version, made.outputs[0].contents.fp64_contents[0]))
                    if made.model_version == "2":
                        swapped.set()
            except grpc.RpcError as end:
                ends.append(end.code().name)
            finally:
                caller.close()

        asking = [threading.Thread(target=ask, daemon=True) for _ in range(6)]
        for thread in asking:
            thread.start()
        try:
            assert httpx.post(running.url + "/api/models/risk/promote", json={"version": 2}).status_code == 200
            assert swapped.wait(20)
        finally:
            code = running.end()
        for thread in asking:
            thread.join(20)
    assert code == 0
    assert set(answers) == {("1", 1.0), ("2", 2.0)}
    assert ends == ["UNAVAILABLE"] * 6
    assert "fault" not in "".join(running.said)
