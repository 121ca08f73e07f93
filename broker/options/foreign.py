"""Sections of features that are no part of this server: JetStream, MQTT, OCSP.

They are checked as nats-server checks them, so that a file's mistakes are found whichever server reads it, and
then nothing of them is kept but that they were asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from broker.options import schema
from broker.options.gotext import quote
from broker.options.parser import Node
from broker.options.report import Report, read_bool, read_int, read_string, show, type_name
from broker.options.schema import Reader, duration, flag, number, text

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_ENABLED: Final = {"enabled": True, "enable": True, "disabled": False, "disable": False}


def read_foreign(key: str, node: Node, report: Report) -> str:
    """Check the section or option called ``key``; returns the feature that it asks for, if any."""
    return _FOREIGN[key](node, report)


def read_account_jetstream(node: Node, report: Report) -> bool:
    """Check an account's ``jetstream``; returns whether it asks for JetStream."""
    return _read_jetstream(node, report, _ACCOUNT_JETSTREAM, placed=False)  # as upstream


def _jetstream(node: Node, report: Report) -> str:
    return "jetstream" if _read_jetstream(node, report, _JETSTREAM) else ""


def _read_jetstream(node: Node, report: Report, table: schema.Schema, placed: bool = True) -> bool:
    value = node.value
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        enabled = _ENABLED.get(value.lower())
        if enabled is None:
            report.error(node, f"Expected 'enabled' or 'disabled' for string value, got '{value}'", placed)
        return bool(enabled)
    if not isinstance(value, dict):
        report.error(
            node, f"Expected map, bool or string to define JetStream, got {type_name(value)}", placed
        )
        return False
    found = _check(value, table, report)
    return found.get("enable", True) is not False and found.get("enabled", True) is not False


def _check(items: dict[str, Node], table: schema.Schema, report: Report) -> dict[str, object]:
    """Read everything in a section; what was read, by key."""
    found: dict[str, object] = {}
    for name, item in items.items():
        entry = table.get(name.lower())
        if entry is None:
            report.unknown_field(name, item, table)
        else:
            found[name.lower()] = entry[1](name, item, report)
    return found


# -- readers ----------------------------------------------------------------------------------------------------------


def _storage_size(name: str, node: Node, report: Report) -> None:
    """A number of bytes, or a string such as ``"10G"``."""
    value = node.value
    label = {"max_memory_store": "max_mem_store", "max_mem": "max_mem_store", "max_file": "max_file_store"}
    called = label.get(name.lower(), name.lower())
    if isinstance(value, str):
        digits, unit = value[:-1], value[-1:]
        if value and _INTEGER.fullmatch(digits) is None:
            report.error(node, f"{called} strconv.ParseInt: parsing {quote(digits)}: invalid syntax")
        elif value and unit not in "KMGT":
            report.error(node, f"{called} sizes defined as strings must end in K, M, G, T")
    elif not isinstance(value, int) or isinstance(value, bool):
        report.error(node, f"{called} must be int64 or string")


def _size(name: str, node: Node, report: Report) -> None:
    if not isinstance(node.value, int) or isinstance(node.value, bool):
        report.error(node, f"Expected a parseable size for {quote(name)}, got {show(node.value)}")


def _parseable_bool(name: str, node: Node, report: Report) -> None:
    if not isinstance(node.value, bool):
        report.error(node, f"Expected a parseable bool for {quote(name)}, got {show(node.value)}")


def _absolute_size(name: str, node: Node, report: Report) -> None:
    if not isinstance(node.value, int) or isinstance(node.value, bool) or node.value < 0:
        report.error(node, f"Expected an absolute size for {quote(name)}, got {show(node.value)}")


def _strict(_name: str, node: Node, report: Report) -> None:
    if not isinstance(node.value, bool):
        report.error(node, f"Expected 'true' or 'false' for bool value, got '{show(node.value)}'")


def _sync(name: str, node: Node, report: Report) -> None:
    if not (isinstance(node.value, str) and node.value.lower() == "always"):
        duration(name)(name, node, report)


def _cipher(_name: str, node: Node, report: Report) -> None:
    value = read_string(node, report)
    if value is not None and value.lower() not in ("chacha", "chachapoly", "aes"):
        report.error(node, f"Unknown cipher type: {quote(value)}")


def _cluster_traffic(name: str, node: Node, report: Report) -> None:
    if not isinstance(node.value, str):
        expected = "Expected either 'system' or 'owner' string value for"
        report.error(node, f"{expected} {quote(name)}, got {show(node.value)}")
    elif node.value not in ("system", "owner", ""):
        expected = "Expected 'system' or 'owner' string value for"
        report.error(node, f"{expected} {quote(name)}, got {node.value}")


def _section(table: schema.Schema, not_a_map: str) -> Reader:
    def read(_name: str, node: Node, report: Report) -> None:
        _check(schema.section(node, report, not_a_map) or {}, table, report)

    return read


def _table(reader: Reader, names: str) -> dict[str, tuple[str, Reader]]:
    return schema.keys("", reader, *names.split())


_NO_LIMITS: Final = "Expected a map to define JetStreamLimits, got {T}"
_LIMITS: Final = {
    **_table(number, "max_ack_pending max_ha_assets max_request_batch"),
    **_table(duration("duplicate_window"), "duplicate_window"),
    **_table(
        _section(
            {
                **_table(number, "max_inflight_per_stream max_inflight_total max_msgs"),
                **_table(duration("timeout"), "timeout"),
            },
            "Expected a map to define batch limits, got {T}",
        ),
        "batch",
    ),
}
_TPM: Final = {
    **_table(text, "keys_file encryption_password srk_password"),
    **_table(number, "pcr"),
    **_table(_cipher, "cipher"),
}
_JETSTREAM: Final = {
    **_table(_strict, "strict"),
    **_table(text, "store store_dir storedir domain extension_hint unique_tag"),
    **_table(text, "key ek encryption_key prev_key prev_ek prev_encryption_key"),
    **_table(_sync, "sync sync_interval"),
    **_table(_storage_size, "max_memory_store max_mem_store max_mem max_file_store max_file"),
    **_table(_storage_size, "max_outstanding_catchup max_buffered_size meta_compact_size"),
    **_table(flag, "enable enabled meta_compact_sync"),
    **_table(_cipher, "cipher"),
    **_table(_section(_LIMITS, _NO_LIMITS), "limits"),
    **_table(_section(_TPM, _NO_LIMITS), "tpm"),
    **_table(_size, "max_buffered_msgs request_queue_limit info_queue_limit"),
    **_table(_absolute_size, "meta_compact"),
}
_ACCOUNT_JETSTREAM: Final = {
    **_table(_size, "max_memory max_mem mem memory max_store max_file max_disk store disk"),
    **_table(_size, "max_streams streams max_consumers consumers max_ack_pending"),
    **_table(_size, "mem_max_stream_bytes memory_max_stream_bytes"),
    **_table(_size, "disk_max_stream_bytes store_max_stream_bytes"),
    **_table(_parseable_bool, "max_bytes_required max_stream_bytes max_bytes"),
    **_table(_cluster_traffic, "cluster_traffic"),
}


# -- MQTT -------------------------------------------------------------------------------------------------------------


def _mqtt(node: Node, report: Report) -> str:
    from broker.options.tls import read_tls
    from broker.options.websocket import read_simple_auth

    items = schema.section(node, report, "Expected mqtt to be a map, got {T}")
    table = {
        **_MQTT,
        **_table(lambda _name, item, problems: read_tls(item, problems), "tls"),
        **_table(read_simple_auth, "authorization authentication"),
    }
    _check(items or {}, table, report)
    return "mqtt"


def _max_ack_pending(_name: str, node: Node, report: Report) -> None:
    value = read_int(node, report)
    if value is not None and not 0 <= value <= 0xFFFF:
        report.error(node, f"invalid value {value}, should in [0..65535] range")


def _consumer_replicas(name: str, node: Node, report: Report) -> None:
    report.warn(node, name, "consumer replicas setting ignored in this server version")


_MQTT: Final = {
    **_table(schema.listen(), "listen"),
    **_table(number, "port stream_replicas"),
    **_table(text, "host net no_auth_user js_domain"),
    **_table(duration("ack_wait"), "ack_wait ackwait"),
    **_table(duration("js_api_timeout"), "js_api_timeout api_timeout"),
    **_table(_max_ack_pending, "max_ack_pending max_pending max_inflight"),
    **_table(_consumer_replicas, "consumer_replicas"),
    **_table(flag, "consumer_memory_storage reject_qos2_publish downgrade_qos2_subscribe"),
    **_table(duration("consumer_inactive_threshold"), "consumer_inactive_threshold consumer_auto_cleanup"),
}


# -- the rest ---------------------------------------------------------------------------------------------------------


def _store_dir(node: Node, report: Report) -> str:
    """Where JetStream would keep its data; nothing is asked for by that alone."""
    read_string(node, report)
    return ""


def _default_js_domain(node: Node, report: Report) -> str:
    items = schema.section(node, report, "error default_js_domain config: unsupported type {T}")
    for item in (items or {}).values():
        read_string(item, report)
    return ""


def _ocsp(node: Node, report: Report) -> str:
    if isinstance(node.value, bool):
        return "ocsp" if node.value else ""
    items = schema.section(node, report, "error parsing ocsp config: unsupported type {T}")
    for name, item in (items or {}).items():
        if name == "mode":
            mode = read_string(item, report)
            if mode is not None and mode.lower() not in ("always", "must", "never", "auto"):
                # What nats-server shows is the type, not the mode.
                report.error(item, "error parsing ocsp config: unsupported ocsp mode string")
        elif name == "url":
            read_string(item, report)
        elif name == "urls":
            schema.list_of_strings(name, item, report)
        else:
            report.error(item, "error parsing ocsp config: unsupported field string")
    return "ocsp"


def _ocsp_cache(node: Node, report: Report) -> str:
    """Only its form: without OCSP there is nothing to keep."""
    if not isinstance(node.value, bool | dict):
        report.error(node, f"error parsing tags: unsupported type {type_name(node.value)}")
    elif isinstance(node.value, dict):
        for name, item in node.value.items():
            if name.lower() == "preserve_revoked":
                read_bool(item, report)
            elif name.lower() not in ("type", "local_store", "save_interval"):
                report.error(item, f"error parsing OCSP peer cache config, unknown field [{quote(name)}]")
    return ""


_FOREIGN: Final[dict[str, Callable[[Node, Report], str]]] = {
    "jetstream": _jetstream,
    "mqtt": _mqtt,
    "store_dir": _store_dir,
    "storedir": _store_dir,
    "default_js_domain": _default_js_domain,
    "ocsp": _ocsp,
    "ocsp_cache": _ocsp_cache,
}
