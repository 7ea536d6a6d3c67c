"""What does a real tritonclient get?  Run in its own environment: URL of HTTP, host:port of gRPC; prints JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from google.protobuf.descriptor import FieldDescriptor
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

ROWS = [[1.0, 0.5], [-2.25, 1e-300], [0.1, 3.0]]


def asked(kind: Any, address: str) -> dict[str, Any]:
    """Health, metadata and answers of one client."""
    client = kind.InferenceServerClient(address)
    matrix = kind.InferInput("input", [3, 2], "FP64")
    matrix.set_data_from_numpy(np.array(ROWS))
    columns = []
    for place, name in enumerate(("rate", "volume")):
        columns.append(kind.InferInput(name, [3], "FP64"))
        columns[-1].set_data_from_numpy(np.array([row[place] for row in ROWS]))
    texts = []
    for name, datatype, value in (("年龄", "INT64", 90), ("城市", "BYTES", "上海"), ("member", "BOOL", True),
                                  ("joined", "BYTES", "2001-03-04")):
        texts.append(kind.InferInput(name, [1], datatype))
        texts[-1].set_data_from_numpy(np.array([value], dtype=object if datatype == "BYTES" else type(value)))
    labels = client.infer("credit", texts)
    broken = kind.InferInput("input", [1, 3], "FP64")
    broken.set_data_from_numpy(np.zeros((1, 3)))
    refused = []
    for model, inputs in (("risk", [broken]), ("rsik", [matrix])):
        try:
            client.infer(model, inputs)
        except InferenceServerException as wrong:
            refused.append([wrong.status(), wrong.message()])
    version = client.infer("risk", [matrix], model_version="2", request_id="mine")
    told = client.get_server_metadata()
    of = client.get_model_metadata("credit")
    if kind is tritonclient.grpc:
        told, names = {"name": told.name, "extensions": list(told.extensions)}, [one.name for one in of.outputs]
        answered = [version.get_response().id, version.get_response().model_version]
    else:
        names = [one["name"] for one in of["outputs"]]
        answered = [version.get_response()["id"], version.get_response()["model_version"]]
    return {
        "live": client.is_server_live(), "ready": client.is_server_ready(), "model": client.is_model_ready("risk"),
        "nobody": is_ready(client, "rsik"), "name": told["name"], "extensions": told["extensions"], "outputs": names,
        "matrix": client.infer("risk", [matrix]).as_numpy("predict").tobytes().hex(),
        "columns": client.infer("risk", columns).as_numpy("predict").tobytes().hex(),
        "version": version.as_numpy("predict").tolist(), "answered": answered,
        "labels": [value.decode() for value in labels.as_numpy("predict")],
        "chances": float(labels.as_numpy("probabilities").sum()), "refused": refused,
    }


def is_ready(client: Any, model: str) -> bool:
    """tritonclient.grpc raises where a model is unknown, tritonclient.http says no."""
    try:
        return bool(client.is_model_ready(model))
    except InferenceServerException:
        return False


def repository(address: str) -> dict[str, Any]:
    """The repository extension."""
    client = tritonclient.http.InferenceServerClient(address)
    client.load_model("risk")
    try:
        client.unload_model("risk")
        refused = ""
    except InferenceServerException as wrong:
        refused = wrong.message()
    return {"index": client.get_model_repository_index(), "refused": refused}


def numbers() -> dict[str, Any]:
    """Field numbers and types of every message, as the client's own generated code has them."""
    found = {}

    def walk(message: Any, name: str) -> None:
        found[name] = {field.name: [field.number, kind(field)] for field in message.fields}
        for inner in message.nested_types:
            walk(inner, f"{name}.{inner.name}")

    def kind(field: Any) -> str:
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            return str(field.message_type.full_name)
        return str(field.type)

    for name, message in service_pb2.DESCRIPTOR.message_types_by_name.items():
        walk(message, name)
    return found


print(json.dumps({"http": asked(tritonclient.http, sys.argv[1]), "grpc": asked(tritonclient.grpc, sys.argv[2]),
                  "repository": repository(sys.argv[1]), "numbers": numbers()}))
