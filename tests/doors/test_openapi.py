"""The description of the server: every route, bodies as they are decoded, errors in each protocol's shape."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from trimtab.doors import openapi, wire
from trimtab.doors.routes import ROUTES


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """The document as it goes out."""
    made = json.loads(wire.encode(openapi.document(ROUTES)))
    assert isinstance(made, dict)
    return made


def operations(told: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(method.upper(), path): one for path, methods in told["paths"].items() for method, one in methods.items()}


def test_every_route_is_described_once(told: dict[str, Any]) -> None:
    """What the router serves, and nothing else; each operation has a name and a sentence of its own."""
    known = operations(told)
    assert set(known) == {(method, route.path) for route in ROUTES for method in (route.methods or set()) - {"HEAD"}}
    assert len({one["operationId"] for one in known.values()}) == len(known)
    assert [key for key, one in known.items() if not one["summary"]] == []
    assert {handler.__name__ for handler in openapi.OPERATIONS} == {route.endpoint.__name__ for route in ROUTES}


def test_everything_that_takes_a_body_says_which(told: dict[str, Any]) -> None:
    """And nothing that is read does; every reference leads somewhere, every part of an address is explained."""
    for (method, path), one in operations(told).items():
        assert ("requestBody" in one) is (method in ("POST", "PUT")), path
        assert [part["name"] for part in one["parameters"] if part["in"] == "path"] == re.findall(r"{(\w+)}", path)
    wanted = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(told)))
    assert wanted == set(told["components"]["schemas"])


def test_errors_are_described_in_the_shape_of_the_protocol(told: dict[str, Any]) -> None:
    """As the guard chooses it: by the address."""
    def wrong(path: str) -> list[str]:
        one = told["paths"][path]["post"]["responses"]["4XX"]["content"]["application/json"]["schema"]
        assert isinstance(one["required"], list)
        return one["required"]

    assert wrong("/v2/models/{model}/infer") == wrong("/v1/models/{model}:predict") == ["error"]
    assert wrong("/invocations") == ["error_code", "message"]
    assert wrong("/api/models/{model}/predict") == ["schema", "error"]
