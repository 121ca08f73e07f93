"""Turns the values of a configuration file into ``Options``: names, types, ranges and defaults.

Keys are case-insensitive. Most options are a name and a type, and stand in tables; the rest have a function
each. A zero is kept here. It stands for the default in ports, sizes and intervals, which is settled when the
command line has been heard, but not in ``max_connections``: there 0, like any negative number, refuses every
client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from broker.options import known
from broker.options.authorization import Authorization, read_authorization
from broker.options.gotext import INT32_MAX, GoError, parse_int, quote, split_host_port, wrap_int
from broker.options.model import MAX_WORKERS, Options, Secret
from broker.options.parser import Node
from broker.options.report import Report, read_bool, read_duration, read_int, read_string, type_name

_MAX_SUBLIST_CACHE: Final = 1 << 20
_MAX_SUB_TOKENS: Final = 255

# Option by key: the key may be written in any case.
_STRINGS: Final = {
    "client_advertise": "client_advertise",
    "host": "host",
    "net": "host",
    "pid_file": "pid_file",
    "pidfile": "pid_file",
    "no_auth_user": "no_auth_user",
}
_BOOLS: Final = {
    "debug": ("debug",),
    "trace": ("trace",),
    "trace_verbose": ("trace_verbose", "trace"),
    "logtime": ("logtime",),
    "no_fast_producer_stall": ("no_fast_producer_stall",),
    "no_header_support": ("no_header_support",),
    "disable_sublist_cache": ("disable_sublist_cache",),
    "no_sublist_cache": ("disable_sublist_cache",),
}
_INTS: Final = {
    "port": "port",
    "max_pending": "max_pending",
    "max_connections": "max_connections",
    "max_conn": "max_connections",
    "max_subscriptions": "max_subscriptions",
    "max_subs": "max_subscriptions",
    "ping_max": "ping_max",
}
_INT32S: Final = frozenset(("max_control_line", "max_payload"))
_DURATIONS: Final = frozenset(("ping_interval", "write_deadline"))
_OWN_INTS: Final = {"workers": MAX_WORKERS, "sublist_cache_size": _MAX_SUBLIST_CACHE}  # key: highest value


def build_options(values: dict[str, Node], report: Report) -> Options:
    """The options that the values of a file spell out; what is wrong with them goes to ``report``."""
    options = Options()
    for name, node in values.items():
        _read_item(name, node, options, report)
    return options


def _read_item(name: str, node: Node, options: Options, report: Report) -> None:
    key = name.lower()
    if key in _STRINGS:
        _set(options, _STRINGS[key], read_string(node, report))
    elif key in _BOOLS:
        value = read_bool(node, report)
        for option in _BOOLS[key]:
            _set(options, option, value)
    elif key in _INTS:
        _set(options, _INTS[key], read_int(node, report))
    elif key in _INT32S:
        _read_int32(name, node, options, report)
    elif key in _DURATIONS:
        _set(options, key, read_duration(key, node, report))
    elif key in _OWN_INTS:
        _read_own_int(name, node, options, report)
    elif key in _OTHERS:
        _OTHERS[key](name, node, options, report)
    elif key in known.TOP_LEVEL:
        report.unsupported(name, node)
    else:
        report.unknown_field(name, node)


def _set(options: Options, option: str, value: str | bool | int | float | None) -> None:
    if value is not None:
        setattr(options, option, value)


def _read_int32(name: str, node: Node, options: Options, report: Report) -> None:
    value = read_int(node, report)
    if value is not None and value > INT32_MAX:
        report.error(node, f"{name} value is too big")
    elif value is not None:
        setattr(options, name.lower(), wrap_int(value, 32))


def _read_own_int(name: str, node: Node, options: Options, report: Report) -> None:
    key = name.lower()
    value = read_int(node, report)
    if value is None:
        return
    if value < 0:
        report.error(node, f"{name} value can not be negative")
    elif value > _OWN_INTS[key]:
        report.error(node, f"{name} value is too big")
    else:
        setattr(options, key, value)


def _read_max_sub_tokens(name: str, node: Node, options: Options, report: Report) -> None:
    value = read_int(node, report)
    if value is None:
        return
    if value > _MAX_SUB_TOKENS:
        report.error(node, f"{name} value is too big")
    elif value <= 0:
        report.error(node, f"{name} value can not be negative")
    else:
        options.max_sub_tokens = value


def _read_server_name(_name: str, node: Node, options: Options, report: Report) -> None:
    value = read_string(node, report)
    if value is not None and " " in value:
        report.error(node, "server name cannot contain spaces")
    elif value is not None:
        options.server_name = value


def _read_listen(_name: str, node: Node, options: Options, report: Report) -> None:
    """``port`` or ``"host:port"``. A bare port listens on every address, whatever ``host`` said before."""
    value = node.value
    if isinstance(value, str):
        try:
            host, port = split_host_port(value)
        except GoError:
            report.error(node, f"could not parse address string {quote(value)}")
            return
        try:
            options.port = parse_int(port)
        except GoError:
            report.error(node, f"could not parse port {quote(port)}")
            return
        options.host = host
    elif isinstance(value, int) and not isinstance(value, bool):
        options.host, options.port = "", value
    else:
        report.error(node, f"expected port or host:port, got {type_name(value)}")


def _read_authorization(_name: str, node: Node, options: Options, report: Report) -> None:
    block = read_authorization(node, report)
    if block is None:
        return
    options.username = block.username
    options.password = Secret(block.password) if block.password else None
    options.token = Secret(block.token) if block.token else None
    options.auth_timeout = block.timeout
    options.default_permissions = block.default_permissions
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


_OTHERS: Final[dict[str, Callable[[str, Node, Options, Report], None]]] = {
    "listen": _read_listen,
    "server_name": _read_server_name,
    "max_sub_tokens": _read_max_sub_tokens,
    "max_subscription_tokens": _read_max_sub_tokens,
    "authorization": _read_authorization,
}
