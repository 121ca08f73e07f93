"""The ``websocket`` section."""

from __future__ import annotations

from typing import Any, Final

from broker.options import schema
from broker.options.gotext import GoError, parse_duration
from broker.options.parser import Node
from broker.options.report import NANOSECONDS, Report, type_name
from broker.options.schema import SEVERAL, Reader, duration, flag, keys, listen, number, secret, text
from broker.options.sections import TlsOptions, WebsocketOptions
from broker.options.tls import read_tls


def read_websocket(node: Node, report: Report) -> WebsocketOptions | None:
    """The section at ``node``."""
    items = schema.section(node, report, "Expected websocket to be a map, got {T}")
    if items is None:
        return None
    websocket = WebsocketOptions()
    schema.read_section(items, websocket, _WEBSOCKET, report)
    return websocket


def read_simple_auth(_name: str, node: Node, report: Report) -> dict[str, Any] | None:
    """Credentials of a listener: one user, or a token."""
    items = schema.section(
        node, report, "interface conversion: interface {} is {T}, not map[string]interface {}"
    )
    if items is None:
        return None
    block = WebsocketOptions()
    schema.read_section(items, block, _AUTHORIZATION, report)
    return {field: getattr(block, field) for field in ("username", "password", "token", "auth_timeout")}


def _auth_timeout(_name: str, node: Node, _report: Report) -> float:
    """Seconds; nats-server takes anything that is no number for one second."""
    value = node.value
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 1.0


def _tls(_name: str, node: Node, report: Report) -> TlsOptions | None:
    return read_tls(node, report)


def _handshake_timeout(_name: str, node: Node, report: Report) -> float | None:
    value = node.value
    if isinstance(value, str):
        try:
            return parse_duration(value) / NANOSECONDS
        except GoError as error:
            report.error(node, str(error))
            return None
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    report.error(node, f"error parsing handshake timeout: unsupported type {type_name(value)}")
    return None


def _headers(_name: str, node: Node, report: Report) -> dict[str, str]:
    headers: dict[str, str] = {}
    items = schema.section(node, report, "error parsing headers: unsupported type {T}")
    for key, item in (items or {}).items():
        if isinstance(item.value, str):
            headers[key] = item.value
        else:
            kind = type_name(item.value)
            report.error(item, f"error parsing header key {key}: unsupported type {kind}")
    return headers


_AUTHORIZATION: Final[dict[str, tuple[str, Reader]]] = {
    **keys("username", text, "user", "username"),
    **keys("password", secret, "pass", "password"),
    **keys("token", secret),
    **keys("auth_timeout", _auth_timeout, "timeout"),
}
_WEBSOCKET: Final[dict[str, tuple[str, Reader]]] = {
    **keys(SEVERAL, listen(), "listen"),
    **keys("host", text, "host", "net"),
    **keys("port", number),
    **keys("advertise", text),
    **keys("no_tls", flag),
    **keys("tls", _tls),
    **keys("same_origin", flag),
    **keys(
        "allowed_origins",
        schema.strings("allowed origins"),
        *("allowed_origins", "allowed_origin", "allow_origins", "allow_origin", "origins", "origin"),
    ),
    **keys("handshake_timeout", _handshake_timeout),
    **keys("compression", flag, "compression", "compress"),
    **keys(SEVERAL, read_simple_auth, "authorization", "authentication"),
    **keys("jwt_cookie", text),
    **keys("user_cookie", text),
    **keys("pass_cookie", text),
    **keys("token_cookie", text),
    **keys("no_auth_user", text),
    **keys("headers", _headers),
    **keys("ping_interval", duration("ping_interval")),
}
