"""From a request to its answer: which path is served by whom, and in which form."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from broker.log import Log
from broker.monitor import page
from broker.monitor.accounts import accountz, accstatz
from broker.monitor.connz import connz
from broker.monitor.encode import compact, indented_slowly
from broker.monitor.healthz import healthz
from broker.monitor.http import Headers, Request, Response, plain
from broker.monitor.links import gatewayz, jsz, leafz, routez
from broker.monitor.metrics import CONTENT_TYPE, metrics
from broker.monitor.processz import processz
from broker.monitor.query import Query, QueryError
from broker.monitor.state import Server
from broker.monitor.subsz import subsz
from broker.monitor.varz import varz
from broker.options.gotext import quote

Endpoint = Callable[[Server, Query], Awaitable[dict[str, Any]]]

_ENDPOINTS: Final[dict[str, Endpoint]] = {
    "/varz": varz,
    "/connz": connz,
    "/routez": routez,
    "/gatewayz": gatewayz,
    "/leafz": leafz,
    "/subsz": subsz,
    "/accountz": accountz,
    "/accstatz": accstatz,
    "/jsz": jsz,
    "/processz": processz,
}
_ALIASES: Final = {"/subscriptionsz": "/subsz"}
_CORS: Final[Headers] = [("Access-Control-Allow-Origin", "*")]
_SAFE: Final[Headers] = [("X-Content-Type-Options", "nosniff")]

# What may stand before the parenthesis of JSONP; anything else would be a program.
_CALLBACK: Final = re.compile(r"[A-Za-z_$][\w$.]{0,127}", re.ASCII)


class Routes:
    """The handler of the HTTP server."""

    def __init__(self, server: Server, log: Log) -> None:
        self._server = server
        self._log = log

    async def __call__(self, request: Request) -> Response:
        """The answer to a request. Never raises for what a client may do."""
        base = self._server.options.http_base_path
        if base and request.path == base:
            path = "/"
        elif base:
            if not request.path.startswith(base + "/") or request.path == base + "/":
                return _not_found()
            path = request.path[len(base) :]
        else:
            path = request.path
        path = _ALIASES.get(path, path)
        try:
            return await self._answer(path, Query(request.query))
        except QueryError as error:
            return plain(400, str(error))

    async def _answer(self, path: str, query: Query) -> Response:
        endpoint = _ENDPOINTS.get(path)
        if endpoint is None and path not in ("/", "/healthz", "/metrics"):
            return _not_found()
        self._server.requests[path] += 1
        if endpoint is not None:
            return _json(query, 200, await indented_slowly(await endpoint(self._server, query)))
        if path == "/healthz":
            status, body = healthz(self._server, query)
            if status != 200:
                reason = body.get("error") or body["errors"][0]["error"]
                self._log.warn(f"Healthcheck failed: {quote(reason)}")
            return _json(query, status, compact(body))
        if path == "/metrics":
            return Response(200, CONTENT_TYPE, (await metrics(self._server)).encode(), _SAFE)
        return Response(200, "text/html; charset=utf-8", page.html(self._server), page.headers())


def _not_found() -> Response:
    return plain(404, "404 page not found\n", _SAFE)


def _json(query: Query, status: int, text: str) -> Response:
    callback = query.text("callback")
    if callback and _CALLBACK.fullmatch(callback):
        return Response(status, "application/javascript", f"{callback}({text})".encode(), _SAFE)
    return Response(status, "application/json", text.encode(), _CORS)
