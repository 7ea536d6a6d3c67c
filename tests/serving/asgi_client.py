"""An HTTP client that calls an application in this process: no socket, one event loop for all its requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import unquote

import httpx


class Client:
    """`httpx`'s methods, synchronous, over an ASGI application. A context manager."""

    def __init__(self, app: Any, base_url: str = "http://localhost") -> None:
        self._app, self._runner = app, asyncio.Runner()
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url=base_url)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()

    def request(self, method: str, url: str, **how: Any) -> httpx.Response:
        """One request; `content` may be an iterator of chunks."""
        if isinstance(how.get("content"), Iterator):
            how["content"] = _chunks(how["content"])
        return self._runner.run(self._client.request(method, url, **how))

    def raw_get(self, path: str) -> httpx.Response:
        """GET of an address that is sent as it is: no client straightens its dots or slashes."""
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        address, _, query = path.partition("?")
        scope = {"type": "http", "method": "GET", "path": unquote(address), "raw_path": address.encode(),
                 "query_string": query.encode(), "headers": [(b"host", b"localhost")], "http_version": "1.1",
                 "scheme": "http", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1), "root_path": ""}
        self._runner.run(self._app(scope, receive, send))
        return httpx.Response(sent[0]["status"], headers=sent[0]["headers"], content=sent[1]["body"])

    def get(self, url: str, **how: Any) -> httpx.Response:
        """GET."""
        return self.request("GET", url, **how)

    def post(self, url: str, **how: Any) -> httpx.Response:
        """POST."""
        return self.request("POST", url, **how)

    def put(self, url: str, **how: Any) -> httpx.Response:
        """PUT."""
        return self.request("PUT", url, **how)

    def delete(self, url: str, **how: Any) -> httpx.Response:
        """DELETE."""
        return self.request("DELETE", url, **how)


async def _chunks(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
