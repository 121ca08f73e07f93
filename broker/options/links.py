"""The ``cluster`` and ``gateway`` sections: links between servers that trust each other."""

from __future__ import annotations

from typing import Final

from broker.options import schema
from broker.options.authorization import Authorization, read_authorization, read_permissions
from broker.options.gotext import GoError, parse_duration, quote
from broker.options.model import Secret
from broker.options.parser import Node
from broker.options.report import NANOSECONDS, Report, read_duration, read_string, type_name
from broker.options.schema import SEVERAL, Reader, duration, flag, keys, listen, number, text
from broker.options.secret import Url
from broker.options.sections import (
    ClusterOptions,
    CompressionOptions,
    GatewayOptions,
    RemoteGateway,
    TlsOptions,
)
from broker.options.tls import read_tls
from broker.options.users import Permissions

_MAX_ROUTE_PING_INTERVAL: Final = 30.0
_COMPRESSION_KEYS: Final = ("mode", "rtt_thresholds", "thresholds", "rtts", "rtt")


def read_cluster(node: Node, report: Report) -> ClusterOptions | None:
    """The ``cluster`` section."""
    items = schema.section(node, report, "Expected map to define cluster, got {T}")
    if items is None:
        return None
    cluster = ClusterOptions()
    schema.read_section(items, cluster, _CLUSTER | {"authorization": ("", _cluster_auth(cluster))}, report)
    return cluster


def read_gateway(node: Node, report: Report) -> GatewayOptions | None:
    """The ``gateway`` section."""
    items = schema.section(node, report, "Expected gateway to be a map, got {T}")
    if items is None:
        return None
    gateway = GatewayOptions()
    schema.read_section(items, gateway, _GATEWAY, report)
    return gateway


def read_compression(mode_for_on: str) -> Reader:
    """A boolean, a mode, or a map of a mode and its thresholds; true means ``mode_for_on``."""

    def read(name: str, node: Node, report: Report) -> CompressionOptions | None:
        compression = CompressionOptions()
        mode = node.value
        if isinstance(mode, dict):
            for key, item in mode.items():
                match key.lower():
                    case "mode":
                        _set_mode(compression, read_string(item, report) or "")
                    case "rtt_thresholds" | "thresholds" | "rtts" | "rtt":
                        compression.rtt_thresholds = _read_thresholds(item, report)
                    case _:
                        report.unknown_field(key, item, _COMPRESSION_KEYS)
        elif isinstance(mode, bool):
            _set_mode(compression, mode_for_on if mode else "off")
        elif isinstance(mode, str):
            _set_mode(compression, mode)
        else:
            report.error(
                node, f"field {quote(name)} should be a boolean or a structure, got {type_name(mode)}"
            )
        return compression

    return read


def _set_mode(compression: CompressionOptions, mode: str) -> None:
    """Modes are checked at start, as upstream; until then any text is one."""
    setattr(compression, "mode", mode)  # noqa: B010 (a wrong mode is no Compression)


def _read_thresholds(node: Node, report: Report) -> list[float]:
    thresholds: list[float] = []
    for item in (
        schema.entries(node, report, "interface conversion: interface {} is {T}, not []interface {}") or ()
    ):
        value = read_string(item, report)
        try:
            thresholds.append(parse_duration(value) / NANOSECONDS if value is not None else 0.0)
        except GoError as error:
            report.error(node, str(error))
    return thresholds


def _link_tls(_name: str, node: Node, report: Report) -> TlsOptions | None:
    return read_tls(node, report, listener=False)


def _link_auth(what: str, node: Node, report: Report) -> Authorization | None:
    """The credentials of a link: one user, and nothing that only makes sense for clients."""
    block = read_authorization(node, report)
    if block is None:
        return None
    if block.users is not None:
        report.error(node, f"{what} authorization does not allow multiple users")
    elif block.token:
        report.error(node, f"{what} authorization does not support tokens")
    elif block.callout is not None:
        report.error(node, f"{what} authorization does not support callouts")
    else:
        return block
    return None


def _auth_fields(block: Authorization) -> dict[str, object]:
    password = Secret(block.password) if block.password else None
    return {"username": block.username, "password": password, "auth_timeout": block.timeout}


def _cluster_auth(cluster: ClusterOptions) -> Reader:
    def read(name: str, node: Node, report: Report) -> None:
        block = _link_auth("Cluster", node, report)
        if block is None:
            return
        for field, value in _auth_fields(block).items():
            setattr(cluster, field, value)
        if block.default_permissions is not None:
            reason = 'setting "permissions" within cluster authorization block is deprecated'
            report.warn(node, name, reason)
            cluster.permissions = cluster.permissions or block.default_permissions

    return read


def _gateway_auth(_name: str, node: Node, report: Report) -> dict[str, object] | None:
    block = _link_auth("Gateway", node, report)
    return None if block is None else _auth_fields(block)


def _cluster_permissions(_name: str, node: Node, report: Report) -> Permissions | None:
    permissions = read_permissions(node, report)
    if permissions is not None and permissions.responses is not None:
        report.error(node, "Cluster permissions do not support dynamic responses")
        return None
    return permissions


def _routes(_name: str, node: Node, report: Report) -> list[Url] | None:
    return schema.read_urls(node, "route", report)


def _cluster_ping_interval(_name: str, node: Node, report: Report) -> float | None:
    seconds = read_duration("ping_interval", node, report)
    if seconds is not None and seconds > _MAX_ROUTE_PING_INTERVAL:
        report.doubt(node, "Cluster 'ping_interval' will reset to 30s which is the max for routes")
    return seconds


def _gateways(_name: str, node: Node, report: Report) -> list[RemoteGateway] | None:
    # nats-server has lost the place of the list at this point.
    gateways: list[RemoteGateway] = []
    if not isinstance(node.value, list):
        report.error(
            node, f"Expected gateways field to be an array, got {type_name(node.value)}", placed=False
        )
        return None
    for entry in node.value:
        items = schema.section(entry, report, "Expected gateway entry to be a map/struct, got {v}")
        gateway = RemoteGateway()
        schema.read_section(items or {}, gateway, _REMOTE_GATEWAY, report)
        gateways.append(gateway)
    return gateways


def _gateway_url(_name: str, node: Node, report: Report) -> list[Url] | None:
    url = schema.read_url(node, "gateway", report)
    return None if url is None else [url]


def _gateway_urls(_name: str, node: Node, report: Report) -> list[Url] | None:
    return schema.read_urls(node, "gateway", report)


_LISTENER: Final[dict[str, tuple[str, Reader]]] = {
    **keys(SEVERAL, listen(), "listen"),
    **keys("host", text, "host", "net"),
    **keys("port", number),
    **keys("write_deadline", duration("write_deadline")),
    **keys("write_timeout", schema.write_timeout),
}
_CLUSTER: Final[dict[str, tuple[str, Reader]]] = {
    **_LISTENER,
    **keys("name", schema.name_without_spaces("cluster")),
    **keys("routes", _routes),
    **keys("tls", _link_tls),
    **keys("advertise", text, "advertise", "cluster_advertise"),
    **keys("no_advertise", flag),
    **keys("connect_retries", number),
    **keys("connect_backoff", flag),
    **keys("permissions", _cluster_permissions),
    **keys("pool_size", number),
    **keys("accounts", schema.strings("accounts")),
    **keys("compression", read_compression("s2_fast")),
    **keys("ping_interval", _cluster_ping_interval),
    **keys("ping_max", number),
}
_GATEWAY: Final[dict[str, tuple[str, Reader]]] = {
    **_LISTENER,
    **keys("name", schema.name_without_spaces("gateway")),
    **keys(SEVERAL, _gateway_auth, "authorization"),
    **keys("tls", _link_tls),
    **keys("advertise", text),
    **keys("connect_retries", number),
    **keys("connect_backoff", flag),
    **keys("gateways", _gateways),
    **keys("reject_unknown_cluster", flag, "reject_unknown_cluster", "reject_unknown"),
}
_REMOTE_GATEWAY: Final[dict[str, tuple[str, Reader]]] = {
    **keys("name", text),
    **keys("tls", _link_tls),
    **keys("urls", _gateway_url, "url"),
    **keys("urls", _gateway_urls, "urls"),
}
