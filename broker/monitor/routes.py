"""From a request to its answer: which path is served by whom, and in which form."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from broker.log import Log
from broker.monitor import asked, page
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
Options = TypeVar("Options")


def _served(
    read: Callable[[Query], Options], answer: Callable[[Server, Options], Awaitable[dict[str, Any]]]
) -> Endpoint:
    return lambda server, query: answer(server, read(query))


_ENDPOINTS: Final[dict[str, Endpoint]] = {
    "/varz": _served(asked.VarzOptions.of_query, varz),
    "/connz": _served(asked.ConnzOptions.of_query, connz),
    "/routez": _served(asked.RoutezOptions.of_query, routez),
    "/gatewayz": _served(asked.GatewayzOptions.of_query, gatewayz),
    "/leafz": _served(asked.LeafzOptions.of_query, leafz),
    "/subsz": _served(asked.SubszOptions.of_query, subsz),
    "/accountz": _served(asked.AccountzOptions.of_query, accountz),
    "/accstatz": _served(asked.AccountStatzOptions.of_query, accstatz),
    "/jsz": _served(asked.JSzOptions.of_query, jsz),
    "/processz": _served(asked.ProcesszOptions.of_query, processz),
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
            status, body = healthz(self._server, asked.HealthzOptions.of_query(query))
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
