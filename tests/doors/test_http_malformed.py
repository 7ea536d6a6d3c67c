"""Every malformed or hostile request gets a 4xx and a sentence that names what is wrong; never a 5xx, never a path."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import serving_scenes as scenes
from asgi_client import Client

from trimtab.doors import guard, server
from trimtab.doors.desk import Desk

JSON = {"content-type": "application/json"}
INFER, ROWS, DEPLOY = "/v2/models/risk/infer", "/api/models/risk/predict", "/api/models/risk/deploy"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    ws = scenes.workspace(tmp_path_factory.mktemp("http"))
    scenes.linear(ws)
    scenes.mixed_classifier(ws, model="credit")
    ws.rollouts.deploy("risk", 1, by="ada")
    ws.rollouts.deploy("credit", 1, by="ada")
    engine = server.make_engine(ws)
    engine.start()
    with Client(server.build_app(Desk(ws, engine)), base_url="http://localhost") as made:
        yield made
    engine.stop()


def one(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "input", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0], **changes}]}


def two(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    full = [{"shape": [1], "datatype": "FP64", "data": [1.0], **each} for each in (first, second)]
    return {"inputs": full}


GOOD = one()
BODIES: list[tuple[str, Any, int, str]] = [
    (INFER, b"", 400, "the body is empty"),
    (INFER, b"   ", 400, "the body is empty"),
    (INFER, b"{", 400, "not JSON"),
    (INFER, b"\xff\xfe{}", 400, "not JSON"),
    (INFER, b'{"inputs": NaN}', 400, "NaN and Infinity are not JSON"),
    (INFER, json.dumps(GOOD).encode("utf-16"), 400, "not JSON"),
    (INFER, [], 400, "the body is a list ([…]), an object ({…}) is expected"),
    (INFER, None, 400, "the body is null, an object ({…}) is expected"),
    (INFER, {}, 400, "the body lacks 'inputs'; send it"),
    (INFER, {"inputs": []}, 400, "send one tensor per column"),
    (INFER, {"inputs": {}}, 400, "inputs is an object ({…}), a list ([…]) is expected"),
    (INFER, {**GOOD, "surprise": 1}, 400, "the body has a field 'surprise' that is not known here"),
    (INFER, {**GOOD, "id": 7}, 400, "id is a whole number, text"),
    (INFER, one(surprise=1), 400, "inputs[0] has a field 'surprise' that is not known here"),
    (INFER, one(datatype="FP128"), 400, "inputs[0].datatype is wrong: Invalid enum value 'FP128'"),
    (INFER, one(shape="1,2"), 400, "inputs[0].shape is text, a list ([…]) is expected"),
    (INFER, one(shape=[1.5, 2]), 400, "inputs[0].shape[0] is a number, a whole number is expected"),
    (INFER, one(shape=[-1, 2]), 400, "must be whole numbers from 0 on"),
    (INFER, one(shape=[]), 400, "is not [n] or [n, 1]"),
    (INFER, one(shape=[2, 2]), 400, "means 4 values, and data has 2"),
    (INFER, one(shape=[1, 3], data=[1, 2, 3]), 400, "has 3 columns, the model takes 2: rate, volume"),
    (INFER, one(shape=[1, 2, 1]), 400, "is not [n] or [n, 1]"),
    (INFER, one(data=[[1.0], [2.0]]), 400, "the nested data do not have shape [1, 2]"),
    (INFER, one(data=[[[1.0, 2.0]]]), 400, "the nested data do not have shape"),
    (INFER, one(data=["1", "2"]), 400, "datatype FP64 holds numbers or null, and data[0] is '1'"),
    (INFER, one(data=[True, 1.0]), 400, "data[0] is True"),
    (INFER, one(datatype="INT64"), 400, "datatype INT64 holds whole numbers"),
    (INFER, one(datatype="BYTES", data=["a", "b"]), 400, "a matrix is FP64"),
    (INFER, one(data={"a": 1}), 400, "inputs[0].data is an object ({…}), a list"),
    (INFER, two({"name": "rate"}, {"name": "rate"}), 400, "the tensor 'rate' appears twice"),
    (INFER, two({"name": "rate"}, {"name": "volume", "shape": [2], "data": [1.0, 2.0]}), 400,
     "different numbers of rows ([1, 2])"),
    (INFER, two({"name": "rate"}, {"name": "zzz"}), 422, "zzz is not a column of the contract"),
    (INFER, {**GOOD, "outputs": [{"name": "embeddings"}]}, 400, "no output 'embeddings'; it has predict"),
    (INFER, b'{"inputs": [], "inputs": []}', 400, "the key 'inputs' appears twice"),
    (INFER, json.dumps(one(data=[0, 1])).replace("[0, 1]", "[1e999, 1]").encode(), 400, "Number out of range"),
    (INFER, one(data=[1e300, 1e300]), 422, "rate = 1e+300 is above the contract's max"),
    (INFER, one(data=["\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), 1]), 400, "holds numbers"),
    (INFER, one(shape=[10**12, 2]), 413, "rows are over the limit of 10,000"),
    (INFER, b"[" * 65 + b"]" * 65, 413, "nests deeper than 64"),
    (INFER, b"[" * 1_000_000, 413, "nests deeper than 64"),
    ("/v2/models/credit/infer", GOOD, 400, "is not a number, so the rows can't be one matrix"),
    (ROWS, 5, 400, "a list of such rows, or one row"),
    (ROWS, "text", 400, "a list of such rows, or one row"),
    (ROWS, [1, 2], 400, "rows[0]: a row is an object of column names and values, not int"),
    (ROWS, {"rows": [[1]]}, 400, "rows[0]: a row is an object"),
    (ROWS, {"rows": 3}, 400, "rows is no list; send"),
    (ROWS, {"rows": {"rate": 1}}, 400, "rows is no list; send"),
    (ROWS, {}, 422, "rate is absent: the request has no such field"),
    (ROWS, {"rate": "1.0"}, 422, "rate = '1.0' is text, the contract says a number"),
    (ROWS, {"rate": True}, 422, "rate = True is true or false, the contract says a number"),
    (ROWS, {"rate": [1]}, 422, "is a list"),
    (ROWS, {"rate": 10**400}, 422, "is not a finite number"),
    (ROWS, b'{"rate": 1, "rate": 2}', 400, "the key 'rate' appears twice"),
    (ROWS, {"__proto__": 1, "rate": 1}, 422, "__proto__ is not a column"),
    (DEPLOY, {}, 400, "the body lacks 'version'; send it"),
    (DEPLOY, {"version": "2"}, 400, "version is text, a whole number is expected"),
    (DEPLOY, {"version": 1, "who": "me"}, 400, "field 'who' that is not known here; leave it out (known: version,"),
    (DEPLOY, {"version": 99}, 404, "no version 99"),
    (DEPLOY, {"version": 0}, 400, "version is wrong: Expected int >= 1"),
    (DEPLOY, {"version": 2 ** 64}, 400, "version is wrong: Expected int <= 999999999"),
    (DEPLOY, {"version": 1, "endpoint": "../../etc"}, 400, "can't name the endpoint"),
    ("/api/models/risk/rollback", {"to": "one"}, 400, "to is text, a whole number or null is expected"),
]


@pytest.mark.parametrize(("path", "body", "status", "words"), BODIES)
def test_a_malformed_body_is_told_what_is_wrong(client: Client, path: str, body: Any, status: int,
                                                words: str) -> None:
    """The status and the words, in the shape of the protocol that was spoken."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    made = client.post(path, content=text, headers=JSON)
    told = made.json()
    said = told["error"] if path.startswith("/v2") else told["error"]["message"]
    assert words in said
    assert made.status_code == status
    assert path.startswith("/v2") or told["schema"] == "trimtab.error/1"


REQUESTS: list[tuple[str, str, dict[str, str], bytes, int, str]] = [
    ("POST", ROWS, {}, b"{}", 415, "not as nothing"),
    ("POST", INFER, {"origin": "http://evil.example"}, b"{}", 403, "another origin"),
    ("POST", INFER, {"content-type": "text/plain"}, b"{}", 415, "not as text/plain"),
    ("POST", INFER, {"content-type": "application/x-www-form-urlencoded"}, b"a=1", 415, "Content-Type"),
    ("POST", INFER, {"content-type": "multipart/form-data; boundary=x"}, b"--x--", 415, "Content-Type"),
    ("POST", INFER, {"content-type": "application/json; charset=gbk"}, b"{}", 415, "JSON in UTF-8"),
    ("POST", INFER, {**JSON, "content-encoding": "gzip"}, b"\x1f\x8b", 415, "unpacked, not as gzip"),
    ("GET", "/v2", {**JSON}, b"{}", 400, "GET takes no body"),
    ("POST", DEPLOY, {**JSON, "origin": "http://evil.example"}, b'{"version":1}', 403, "another origin"),
    ("POST", DEPLOY, {**JSON, "origin": "http://localhost:9999"}, b'{"version":1}', 403, "another origin"),
    ("POST", DEPLOY, {**JSON, "origin": "null"}, b'{"version":1}', 403, "another origin"),
    ("POST", DEPLOY, {**JSON, "sec-fetch-site": "cross-site"}, b'{"version":1}', 403, "another site"),
    ("POST", DEPLOY, {**JSON, "sec-fetch-site": "same-site"}, b'{"version":1}', 403, "another site"),
    ("DELETE", "/api/registry/risk/aliases/x", {"origin": "http://evil.example"}, b"", 403, "another origin"),
    ("PUT", "/api/registry/risk/aliases/x", {**JSON, "origin": "http://evil.example"}, b"{}", 403, "another origin"),
    ("GET", "/health", {"host": "evil.example"}, b"", 403, "answers only as localhost"),
    ("GET", "/health", {"host": "localhost.evil.example"}, b"", 403, "answers only as localhost"),
    ("GET", "/health", {"host": "127.0.0.1.nip.io:80"}, b"", 403, "answers only as localhost"),
    ("GET", "/health", {"host": "localhost@evil.example"}, b"", 403, "answers only as localhost"),
    ("GET", "/health", {"host": "0.0.0.0"}, b"", 403, "answers only as localhost"),
    ("GET", "/health", {"host": ""}, b"", 403, "answers only as localhost"),
    ("GET", "/nothing/here", {}, b"", 404, "nothing at this address"),
    ("GET", "/v2/nothing", {}, b"", 404, "nothing at this address"),
    ("GET", "/v2/", {}, b"", 404, "nothing at this address"),
    ("GET", INFER, {}, b"", 405, "does not take GET"),
    ("DELETE", "/health", {}, b"", 405, "does not take DELETE"),
    ("PATCH", INFER, JSON, b"{}", 405, "does not take PATCH"),
    ("GET", "/v2/models/risk/versions/x", {}, b"", 404, "is not a version's number"),
    ("GET", "/v2/models/risk/versions/-1", {}, b"", 404, "is not a version's number"),
    ("GET", "/v2/models/risk/versions/99999999999999999999", {}, b"", 404, "is not a version's number"),
    ("GET", "/v2/models/risk/versions/9", {}, b"", 404, "no version 9"),
    ("GET", "/v2/models/rsik", {}, b"", 404, "no model 'rsik' is live"),
    ("GET", "/api/registry/rsik", {}, b"", 404, "Did you mean 'risk'?"),
    ("GET", "/api/registry/risk/aliases/nobody", {}, b"", 404, "no alias 'nobody'"),
    ("GET", "/api/log/rsik", {}, b"", 404, "no model 'rsik'"),
    ("GET", "/api/log/risk?limit=all", {}, b"", 400, "limit: a whole number"),
    ("GET", "/api/log/risk?limit=-5", {}, b"", 400, "limit: a whole number"),
    ("GET", "/v2/models/" + "a" * 3000, {}, b"", 400, "can't name the model"),
]


@pytest.mark.parametrize(("method", "path", "headers", "body", "status", "words"), REQUESTS)
def test_a_request_that_should_not_come_in_is_refused(client: Client, method: str, path: str,
                                                      headers: dict[str, str], body: bytes, status: int,
                                                      words: str) -> None:
    """Host, origin, kind of body, method, address."""
    made = client.request(method, path, headers=headers, content=body)
    assert made.status_code == status, made.text
    assert words in made.text.replace("\\u00b7", "·")
    assert made.json()
    assert made.headers["x-content-type-options"] == "nosniff"


HOSTILE = ["..", "%2e%2e", "%252e%252e", "..%2f..%2fetc%2fpasswd", "%2e%2e%2f", "..%5c..%5c", "..\\..", "%00", "a%00b",
           "%2fetc%2fpasswd", "//etc/passwd", "file:%2f%2f%2fetc%2fpasswd", "C:%5cwindows", "%5c%5chost%5cshare", ".",
           "%2e", "risk%2f..%2frisk", "risk;x", "risk%23x", "risk%3fx", "%c0%ae%c0%ae", "%ff", "risk%0d%0aSet-Cookie:x",
           "~root", "$HOME", "{{7*7}}", "%25s", "' OR 1=1 --", "<script>alert(1)</script>", "risk%20", "\u202erisk",
           "%e2%80%ae"]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("route", ["/v2/models/{}", "/v2/models/{}/ready", "/api/registry/{}",
                                   "/api/registry/{}/versions/1", "/api/registry/risk/aliases/{}", "/api/log/{}"])
def test_nothing_from_the_wire_is_a_path(client: Client, route: str, name: str) -> None:
    """A name that could pass for a path, a tag or a query finds nothing, and nothing of it is opened or echoed raw."""
    made = client.raw_get(route.format(name))
    assert made.status_code in (400, 404), made.text
    assert "root:" not in made.text
    assert "Traceback" not in made.text
    assert made.headers["content-type"] == "application/json"
    assert "set-cookie" not in made.headers


def test_bodies_over_the_bound_are_refused_before_they_are_read(client: Client) -> None:
    """1 MB of JSON for verbs, 16 MB for predictions; with and without a stated length."""
    big = b'{"version": 1, "why": "' + b"x" * guard.MAX_JSON_BYTES + b'"}'
    assert client.post(DEPLOY, content=big, headers=JSON).status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * (1 << 20)

    assert client.post(INFER, content=chunks(), headers=JSON).status_code == 413
    assert client.post(INFER, content=b" " * (2 << 20) + json.dumps(GOOD).encode(), headers=JSON).status_code == 200


def test_a_fault_of_ours_tells_the_log_and_not_the_client(client: Client, monkeypatch: pytest.MonkeyPatch,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    """500 in JSON without stack or path; one line of fields on standard error, which a newline can't split."""
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret\n{\"event\": \"forged\"}")

    monkeypatch.setattr("trimtab.serving.engine.Engine.answer", broken)
    made = client.post(INFER, json=GOOD)
    assert made.status_code == 500
    assert made.json() == {"error": "a fault of ours; the server's log says more"}
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    told = json.loads(lines[0])
    assert (told["event"], told["error"]) == ("http.fault", "RuntimeError")
    assert "Traceback" in told["where"]


def test_a_slow_answer_ends_in_503(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    """A request has a bounded time."""
    import asyncio

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(5)

    with Client(guard.Guard(slow, answer_timeout_s=0.05)) as hurried:
        made = hurried.get("/health")
    assert (made.status_code, made.headers["retry-after"]) == (503, "1")
