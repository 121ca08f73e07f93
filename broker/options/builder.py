"""Turns the values of a configuration file into ``Options``: names, types, ranges and defaults.

Keys are case-insensitive. Most options are a name and a type, and stand in one table; sections have a module each,
which is loaded when a file has such a section. A zero is kept here. It stands for the default in ports, sizes and
intervals, which is settled when the command line has been heard, but not in ``max_connections``: there 0, like any
negative number, refuses every client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from broker.options import schema
from broker.options.authorization import Authorization, read_authorization
from broker.options.gotext import INT32_MAX, GoError, format_duration, parse_duration, quote, wrap_int
from broker.options.keys import public_key_kind
from broker.options.model import MAX_WORKERS, Options, Secret
from broker.options.parser import Node
from broker.options.report import NANOSECONDS, Report, read_int, read_string, type_name
from broker.options.schema import SEVERAL, Reader, duration, flag, keys, listen, number, text

_MAX_SUBLIST_CACHE: Final = 1 << 20
_MAX_SUB_TOKENS: Final = 255
_MIN_LAME_DUCK_DURATION: Final = 30.0
_NO_SYSTEM_ACCOUNT: Final = ("no_system_account", "no_system", "no_sys_acc")


def build_options(values: dict[str, Node], report: Report) -> Options:
    """The options that the values of a file spell out; what is wrong with them goes to ``report``."""
    options = Options(auth_timeout=0.0)  # the default depends on TLS
    _read_system_account(values, options, report)
    for name, node in values.items():
        key = name.lower()
        if key in _OPTIONS:
            schema.read_item(name, node, options, _OPTIONS[key], report)
        elif key in _SECTIONS:
            _SECTIONS[key](name, node, options, report)
        else:
            report.unknown_field(name, node, (*_OPTIONS, *_SECTIONS))
    if options.auth_callout is not None:
        names = {account.name for account in options.accounts}
        for name in options.auth_callout.allowed_accounts:
            if name not in names:
                report.error(
                    None, f"auth_callout allowed account {quote(name)} not found in configured accounts"
                )
    return options


# -- options with a rule of their own ------------------------------------------------------------------------------


def _int32(name: str, node: Node, report: Report) -> int | None:
    value = read_int(node, report)
    if value is not None and value > INT32_MAX:
        report.error(node, f"{name} value is too big")
        return None
    return None if value is None else wrap_int(value, 32)


def _up_to(highest: int, lowest: int = 0) -> Reader:
    """A number in a range."""

    def read(name: str, node: Node, report: Report) -> int | None:
        value = read_int(node, report)
        if value is not None and value > highest:
            report.error(node, f"{name} value is too big")
        elif value is not None and value < lowest:
            report.error(node, f"{name} value can not be negative")
        else:
            return value
        return None

    return read


def _lame_duck(check: Callable[[float], str]) -> Reader:
    """A duration string that passes ``check``, which says what is wrong with a duration."""

    def read(name: str, node: Node, report: Report) -> float | None:
        value = read_string(node, report)
        if value is None:
            return None
        try:
            seconds = parse_duration(value) / NANOSECONDS
        except GoError as error:
            report.error(node, f"error parsing {name.lower()}: {error}")
            return None
        wrong = check(seconds)
        if wrong:
            report.error(node, wrong)
            return None
        return seconds

    return read


def _wrong_lame_duck_duration(seconds: float) -> str:
    if seconds >= _MIN_LAME_DUCK_DURATION:
        return ""
    return f"invalid lame_duck_duration of {format_duration(seconds)}, minimum is 30 seconds"


def _wrong_lame_duck_grace_period(seconds: float) -> str:
    return "" if seconds >= 0 else "invalid lame_duck_grace_period, needs to be positive"


def _switches(*fields: str) -> Reader:
    """A boolean that sets several fields."""

    def read(name: str, node: Node, report: Report) -> dict[str, bool] | None:
        value = flag(name, node, report)
        return None if value is None else dict.fromkeys(fields, value)

    return read


def _server_tags(_name: str, node: Node, report: Report) -> list[str] | None:
    if isinstance(node.value, str):
        tags = [node.value]
    elif isinstance(node.value, list):
        tags = [item.value for item in node.value if isinstance(item.value, str)]
        if len(tags) < len(node.value):
            reason = "error parsing tags: unsupported type *conf.token where string is expected"
            report.error(node, reason)
    else:
        report.error(node, f"error parsing tags: unsupported type {type_name(node.value)}")
        return None
    return list(dict.fromkeys(tag.strip().lower() for tag in tags if tag.strip()))


def _server_metadata(_name: str, node: Node, report: Report) -> dict[str, str] | None:
    items = schema.section(node, report, "error parsing metadata: unsupported type {T}")
    found = {key: read_string(item, report) for key, item in (items or {}).items()}
    return {key: value for key, value in found.items() if value is not None}


def _feature_flags(_name: str, node: Node, report: Report) -> dict[str, bool] | None:
    flags: dict[str, bool] = {}
    items = schema.section(node, report, "error parsing feature flags: unsupported type {T}")
    for key, item in (items or {}).items():
        if isinstance(item.value, bool):
            flags[key] = item.value
        else:
            kind = type_name(item.value)
            report.error(item, f"error parsing feature flag {quote(key)}: expected bool, got {kind}")
    return flags


def _log_format(_name: str, node: Node, report: Report) -> str | None:
    value = read_string(node, report)
    if value is not None and value not in ("text", "json"):
        report.error(node, "log_format must be 'text' or 'json'")
        return None
    return value


def _trusted_proxies(_name: str, node: Node, report: Report) -> list[str] | None:
    items = schema.section(node, report, "expected proxies to be a map/struct, got {T}")
    found: list[str] = []
    for name, item in (items or {}).items():
        if name.lower() != "trusted":
            report.unknown_field(name, item, ("trusted",))
            continue
        for entry in (
            schema.entries(item, report, "expected proxies' trusted field to be an array, got {T}") or ()
        ):
            fields = schema.section(
                entry, report, "expected proxies' trusted entry to be a map/struct, got {T}"
            )
            for key, value in (fields or {}).items():
                if key.lower() not in ("key", "public_key"):
                    report.unknown_field(key, value, ("key", "public_key"))
                    continue
                public = read_string(value, report)
                if public is not None and not public_key_kind(public):
                    report.error(value, f"invalid proxy key {quote(public)}")
                elif public is not None:
                    found.append(public)
    return found


def _tls(_name: str, node: Node, report: Report) -> object:
    from broker.options.tls import read_tls

    return read_tls(node, report)


_OPTIONS: Final[dict[str, tuple[str, Reader]]] = {
    **keys(SEVERAL, listen(), "listen"),
    **keys("host", text, "host", "net"),
    **keys("port", number),
    **keys("server_name", schema.name_without_spaces("server")),
    **keys("server_tags", _server_tags),
    **keys("server_metadata", _server_metadata),
    **keys("feature_flags", _feature_flags),
    **keys("client_advertise", text),
    **keys("workers", _up_to(MAX_WORKERS)),
    **keys("max_connections", number, "max_connections", "max_conn"),
    **keys("max_subscriptions", number, "max_subscriptions", "max_subs"),
    **keys("max_sub_tokens", _up_to(_MAX_SUB_TOKENS, lowest=1), "max_sub_tokens", "max_subscription_tokens"),
    **keys("max_control_line", _int32),
    **keys("max_payload", _int32),
    **keys("max_pending", number),
    **keys("max_closed_clients", number),
    **keys("ping_interval", duration("ping_interval")),
    **keys("ping_max", number),
    **keys("write_deadline", duration("write_deadline")),
    **keys("write_timeout", schema.write_timeout),
    **keys("no_fast_producer_stall", flag),
    **keys("no_header_support", flag),
    **keys("disable_sublist_cache", flag, "disable_sublist_cache", "no_sublist_cache"),
    **keys("sublist_cache_size", _up_to(_MAX_SUBLIST_CACHE)),
    **keys("lame_duck_duration", _lame_duck(_wrong_lame_duck_duration)),
    **keys("lame_duck_grace_period", _lame_duck(_wrong_lame_duck_grace_period)),
    **keys("connect_error_reports", number),
    **keys("reconnect_error_reports", number),
    **keys("debug", flag),
    **keys("trace", flag),
    **keys(SEVERAL, _switches("trace_verbose", "trace"), "trace_verbose"),
    **keys(SEVERAL, _switches("trace_headers", "trace"), "trace_headers"),
    **keys("max_traced_msg_len", number),
    **keys("logtime", flag),
    **keys("logtime_utc", flag),
    **keys("log_format", _log_format),
    **keys("log_file", text, "log_file", "logfile"),
    **keys("log_size_limit", number, "log_size_limit", "logfile_size_limit"),
    **keys("log_max_num", number, "log_max_num", "logfile_max_num"),
    **keys("syslog", flag),
    **keys("remote_syslog", text),
    **keys("pid_file", text, "pid_file", "pidfile"),
    **keys("ports_file_dir", text),
    **keys(SEVERAL, listen("http_host", "http_port"), "http"),
    **keys(SEVERAL, listen("http_host", "https_port"), "https"),
    **keys("http_port", number, "http_port", "monitor_port"),
    **keys("https_port", number),
    **keys("http_base_path", text),
    **keys("prof_port", number),
    **keys("prof_block_rate", number),
    **keys("tls", _tls),
    **keys("allow_non_tls", flag),
    **keys("proxy_protocol", flag),
    **keys("trusted_proxies", _trusted_proxies, "proxies"),
    **keys("no_auth_user", text),
    **keys("no_system_account", flag, *_NO_SYSTEM_ACCOUNT),
    **keys("default_sentinel", text),
}


# -- sections -------------------------------------------------------------------------------------------------------


def _read_system_account(values: dict[str, Node], options: Options, report: Report) -> None:
    """Before everything else, as nats-server does (with the name, at least): other sections depend on it."""
    for name, node in values.items():
        if name.lower() in _NO_SYSTEM_ACCOUNT and isinstance(node.value, bool):
            options.no_system_account = node.value
    for key in ("system_account", "system"):
        for name, node in values.items():
            if name == key:
                if isinstance(node.value, str):
                    options.system_account = node.value
                else:
                    report.error(node, "system account name must be a string")
                return


def _nothing(_name: str, _node: Node, _options: Options, _report: Report) -> None:
    """It has been read already."""


def _authorization(_name: str, node: Node, options: Options, report: Report) -> None:
    block = read_authorization(node, report)
    if block is None:
        return
    options.username = block.username
    options.password = Secret(block.password) if block.password else None
    options.token = Secret(block.token) if block.token else None
    options.auth_timeout = block.timeout
    options.default_permissions = block.default_permissions
    options.proxy_required = block.proxy_required
    options.auth_callout = block.callout
    wrong = _conflict(block, options)
    if wrong:
        report.error(node, wrong)
        return
    options.users += block.users or []
    options.nkeys += block.nkeys


def _conflict(block: Authorization, options: Options) -> str:
    """Why the parts of an authorization block do not go together; empty if they do."""
    if (block.username or block.password) and block.token:
        return "Cannot have a user/pass and token"
    names = {user.name for user in options.users} | {user.nkey for user in options.nkeys}
    if block.users is not None or names:
        if block.username:
            return "Can not have a single user/pass and a users array"
        if block.token:
            return "Can not have a token and a users array"
    for user in block.users or []:
        if user.name in names:
            return f"Duplicate user {quote(user.name)} detected"
        names.add(user.name)
    for nkey_user in block.nkeys:
        if nkey_user.nkey in names:
            return f"Duplicate nkey {quote(nkey_user.nkey)} detected"
        names.add(nkey_user.nkey)
    return ""


def _accounts(_name: str, node: Node, options: Options, report: Report) -> None:
    from broker.options.accounts import read_accounts

    read_accounts(node, options, report)


def _mappings(_name: str, node: Node, options: Options, report: Report) -> None:
    from broker.options.mappings import read_mappings

    options.mappings = read_mappings(node, report)


def _links(name: str, node: Node, options: Options, report: Report) -> None:
    from broker.options import links

    match name.lower():
        case "cluster":
            options.cluster = links.read_cluster(node, report)
        case "gateway":
            options.gateway = links.read_gateway(node, report)
        case _:
            from broker.options.leafnodes import read_leafnodes

            options.leafnodes = read_leafnodes(node, report)


def _websocket(_name: str, node: Node, options: Options, report: Report) -> None:
    from broker.options.websocket import read_websocket

    options.websocket = read_websocket(node, report)


def _operator_mode(name: str, node: Node, options: Options, report: Report) -> None:
    from broker.options.operators import read_operator_option

    read_operator_option(name.lower(), node, options, report)


def _foreign(name: str, node: Node, options: Options, report: Report) -> None:
    from broker.options.foreign import read_foreign

    feature = read_foreign(name.lower(), node, report)
    if feature and feature not in options.foreign:
        options.foreign.append(feature)


_SECTIONS: Final[dict[str, Callable[[str, Node, Options, Report], None]]] = {
    "authorization": _authorization,
    **dict.fromkeys(("system_account", "system"), _nothing),
    "accounts": _accounts,
    **dict.fromkeys(("mappings", "maps"), _mappings),
    **dict.fromkeys(("cluster", "gateway", "leafnodes", "leaf"), _links),
    **dict.fromkeys(("websocket", "ws"), _websocket),
    **dict.fromkeys(
        (
            *("operator", "operators", "root", "roots", "root_operator", "root_operators"),
            *("resolver", "account_resolver", "accounts_resolver", "resolver_preload"),
            *("resolver_pinned_accounts", "resolver_tls", "trusted_keys", "trusted"),
        ),
        _operator_mode,
    ),
    **dict.fromkeys(
        ("jetstream", "mqtt", "store_dir", "storedir", "default_js_domain", "ocsp", "ocsp_cache"), _foreign
    ),
}
