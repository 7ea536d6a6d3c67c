"""Real clients against a real server: Triton's over HTTP and gRPC, MLflow's, TensorFlow Serving's; schemathesis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import serving_scenes as scenes
from running import Running, open_folder

from trimtab.doors.inference import grpc_messages

pytestmark = pytest.mark.full
CLIENTS = Path(__file__).parent / "clients"
ENVIRONMENT = Path(__file__).parents[2] / "tools" / "environment.py"


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """risk answers 2 · rate + volume, its version 2 always 7; credit is a classifier with Chinese columns."""
    with open_folder() as folder:
        ws = scenes.workspace(folder)
        scenes.linear(ws)
        scenes.constant(ws, 7.0)
        scenes.mixed_classifier(ws, model="credit")
        ws.rollouts.deploy("risk", 1, by="ada")
        ws.rollouts.deploy("credit", 1, by="ada")
        ws.close()
        made = Running(folder, grpc=True)
        yield made
        made.end()


def python_of(name: str) -> str:
    """The Python of a client's own environment."""
    made = subprocess.run([sys.executable, str(ENVIRONMENT), name], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def run(python: str, *arguments: str) -> Any:
    """What a script prints, as JSON; it sees nothing of this environment."""
    done = subprocess.run([python, *arguments], capture_output=True, text=True, timeout=300, check=False,
                          env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"})
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def bits(running: Running, rows: list[dict[str, float]]) -> str:
    """The answers to plain rows, all 64 bits of each."""
    told = httpx.post(running.url + "/api/models/risk/predict", json=rows).json()["predictions"]
    return np.array([one["value"] for one in told]).tobytes().hex()


@pytest.fixture(scope="module")
def triton(running: Running) -> Any:
    """What tritonclient found."""
    return run(python_of("tritonclient"), str(CLIENTS / "triton.py"), running.url.removeprefix("http://"), running.grpc)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_tritonclient_gets_the_same_bits_as_plain_rows(running: Running, triton: Any, protocol: str) -> None:
    """It sends bytes by default; health, metadata, versions, labels, errors."""
    told = triton[protocol]
    rows = [{"rate": 1.0, "volume": 0.5}, {"rate": -2.25, "volume": 1e-300}, {"rate": 0.1, "volume": 3.0}]
    assert told["matrix"] == told["columns"] == bits(running, rows)
    assert (told["version"], told["answered"]) == ([7.0] * 3, ["mine", "2"])
    assert (told["live"], told["ready"], told["model"], told["nobody"]) == (True, True, True, False)
    assert (told["name"], told["outputs"]) == ("trimtab", ["predict", "probabilities"])
    assert "binary_tensor_data" in told["extensions"]
    assert (told["labels"], told["chances"]) == (["高"], pytest.approx(1.0))
    (shape, shape_words), (unknown, unknown_words) = told["refused"]
    assert "has 3 columns, the model takes 2" in shape_words
    assert "no model 'rsik' is live" in unknown_words
    assert (shape, unknown) == (("400", "404") if protocol == "http" else
                                ("StatusCode.INVALID_ARGUMENT", "StatusCode.NOT_FOUND"))


def test_tritonclient_reads_the_index_and_is_refused_what_rollouts_decide(triton: Any) -> None:
    """`load` of what is live is a success, `unload` is not."""
    assert [(one["name"], one["version"], one["state"]) for one in triton["repository"]["index"]] == [
        ("credit", "1", "READY"), ("risk", "1", "READY")]
    assert "trimtab rollback" in triton["repository"]["refused"]


def test_our_messages_have_the_numbers_of_the_public_ones(triton: Any) -> None:
    """Every field that we speak has the number and type that tritonclient's own generated code has."""
    kinds = {"double": "1", "float": "2", "int64": "3", "uint64": "4", "int32": "5", "bool": "8", "string": "9",
             "bytes": "12", "uint32": "13"}
    for name, fields in grpc_messages.MESSAGES.items():
        for field, (number, kind) in fields.items():
            plain = kind.rstrip("[]{}|")
            wanted = f"inference.{name}.{field.capitalize()}Entry" if kind.endswith("{}") else (
                kinds.get(plain) or f"inference.{plain}")
            assert triton["numbers"][name][field] == [number, wanted], f"{name}.{field}"


def test_the_scoring_client_of_mlflow(running: Running) -> None:
    """A frame with an extra column, a matrix, params; ping and version; a refusal with its reason."""
    told = run(python_of("mlflow"), str(CLIENTS / "mlflow_client.py"), *running.url.removeprefix("http://").split(":"))
    assert told["frame"] == told["matrix"] == bits(running, [{"rate": 1.0, "volume": 0.5}, {"rate": 0.1, "volume": 3}])
    assert len(told["params"]) == 2
    assert "rate = 99.0 is above the contract's max" in told["refused"]
    assert "trimtab" in told["version"]


def test_calls_as_clients_of_tensorflow_serving_make_them(running: Running) -> None:
    """`requests.post(url, data=json.dumps(…))` says no kind of body, `curl -d` a wrong one."""
    body = json.dumps({"signature_name": "serving_default", "instances": [[1.0, 0.5]]})
    for kind in ({}, {"content-type": "application/x-www-form-urlencoded"}, {"content-type": "application/json"}):
        made = httpx.post(running.url + "/v1/models/risk:predict", content=body, headers=kind)
        assert made.json()["predictions"] == pytest.approx([2.5])


@pytest.mark.parametrize("model", ["risk", "credit"])
def test_nothing_that_schemathesis_makes_of_the_description_is_a_fault(running: Running, tmp_path: Path,
                                                                      model: str) -> None:
    """No 5xx, and answers, statuses and kinds as described; bodies that break the description are refused.

    Not asked: that what keeps the description is accepted (the contract has the last word), and 405 for a GET with a
    body (that is 400 whatever the address).
    """
    (tmp_path / "schemathesis.toml").write_text(f"""
[parameters]
"path.model" = "{model}"
"path.alias" = "next"
"path.label" = "champion"

[checks]
negative_data_rejection.expected-statuses = [400, 403, 404, 405, 409, 413, 415, 422]
""")
    done = subprocess.run(
        [python_of("schemathesis"), "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run",
         running.url + "/api/openapi.json", "--max-examples", "20", "--seed", "7", "--max-time", "40", "--no-color",
         "--warnings", "off", "--checks", "all", "--exclude-checks", "positive_data_acceptance,unsupported_method"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"})
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert httpx.get(running.url + "/v2/health/live").status_code == 200
