"""What a reload would change: the difference of two configurations, each change with what becomes of it.

``plan`` only compares. Whoever reloads applies all of its changes, or, if any of them is refused, none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from broker.options.gotext import format_duration, format_float, quote
from broker.options.model import Options
from broker.options.secret import MASK, Secret, Url

if TYPE_CHECKING:
    from broker.options.sections import LeafnodeOptions, RemoteLeafnode, TlsOptions


@dataclass(slots=True, frozen=True)
class Change:
    """One difference. ``field`` is that of ``Options``; ``text`` is the line for the log, without secrets.

    A change that is refused refuses the whole reload; ``text`` is then the reason.
    """

    field: str
    reloadable: bool
    text: str


# Fields whose change a running server refuses: Go's name of each, which is part of the message.
_REFUSED: Final = {
    "host": "Host",
    "port": "Port",
    "server_name": "ServerName",
    "feature_flags": "FeatureFlags",
    "workers": "Workers",
    "max_subscriptions": "MaxSubs",
    "max_sub_tokens": "MaxSubTokens",
    "max_pending": "MaxPending",
    "max_closed_clients": "MaxClosedClients",
    "write_timeout": "WriteTimeout",
    "no_header_support": "NoHeaderSupport",
    "disable_sublist_cache": "NoSublistCache",
    "sublist_cache_size": "SublistCacheSize",
    "lame_duck_duration": "LameDuckDuration",
    "lame_duck_grace_period": "LameDuckGracePeriod",
    "log_size_limit": "LogSizeLimit",
    "log_max_num": "LogMaxFiles",
    "http_host": "HTTPHost",
    "http_port": "HTTPPort",
    "https_port": "HTTPSPort",
    "http_base_path": "HTTPBasePath",
    "prof_port": "ProfPort",
    "allow_non_tls": "AllowNonTLS",
    "proxy_protocol": "ProxyProtocol",
    "proxy_required": "ProxyRequired",
    "auth_callout": "AuthCallout",
    "system_account": "SystemAccount",
    "no_system_account": "NoSystemAccount",
    "operators": "TrustedOperators",
    "trusted_keys": "TrustedKeys",
    "foreign": "Features",
}

# Fields whose change is applied: what the log says of it, with the new value in place of ``{}``.
_APPLIED: Final = {
    "server_tags": "tags",
    "server_metadata": "metadata",
    "max_connections": "max_connections = {}",
    "max_control_line": "max_control_line = {}",
    "max_payload": "max_payload = {}",
    "ping_interval": "ping_interval = {}",
    "ping_max": "ping_max = {}",
    "write_deadline": "write_deadline = {}",
    "connect_error_reports": "connect_error_reports = {}",
    "reconnect_error_reports": "reconnect_error_reports = {}",
    "debug": "debug = {}",
    "trace": "trace = {}",
    "trace_verbose": "trace_verbose = {}",
    "trace_headers": "trace_headers = {}",
    "max_traced_msg_len": "max_traced_msg_len = {}",
    "logtime": "logtime = {}",
    "logtime_utc": "logtime_utc = {}",
    "log_format": "log_format = {}",
    "log_file": "log_file = {}",
    "syslog": "syslog = {}",
    "remote_syslog": "remote_syslog = {}",
    "pid_file": "pid_file = {}",
    "ports_file_dir": "ports_file_dir = {}",
    "prof_block_rate": "prof_block_rate = {}",
    "username": "authorization username",
    "password": "authorization password",
    "token": "authorization token",
    "auth_timeout": "authorization timeout = {}",
    "users": "authorization users",
    "nkeys": "authorization nkey users",
    "accounts": "accounts",
    "mappings": "accounts",
    "resolver_preload": "accounts",
    "resolver_pinned_accounts": "accounts",
    "resolver_tls": "accounts",
    "default_sentinel": "default_sentinel = {}",
}

# Not settings of their own: where the configuration came from, and what users have been given already.
_IGNORED: Final = frozenset(("config_file", "config_digest", "default_permissions", "implied_user", "places"))

# Values that leave the choice to the server, which has made it: not to be made again. (0 is "no such port".)
_LEFT_OPEN: Final = {"port": -1, "http_port": -1, "https_port": -1, "workers": 0}

# Times that are plain numbers of seconds for nats-server; the others are durations.
_SECONDS: Final = frozenset(("auth_timeout", "timeout"))

# Lists in which the order of the entries means nothing.
_UNORDERED: Final = frozenset(
    (
        "server_tags",
        "trusted_proxies",
        "users",
        "nkeys",
        "accounts",
        "operators",
        "trusted_keys",
        "resolver_pinned_accounts",
        "foreign",
        "routes",
        "gateways",
        "urls",
        "auth_users",
        "allowed_accounts",
    )
)


def plan(old: Options, new: Options) -> list[Change]:
    """The changes from ``old`` (what runs) to ``new`` (which has been checked), in the order of the fields.

    What ``new`` leaves to the server, such as a port that may be any free one, stays as it is.
    """
    changes: list[Change] = []
    for item in fields(Options):
        name = item.name
        before, after = getattr(old, name), getattr(new, name)
        if name in _IGNORED or _same(name, before, after):
            continue
        if name in _SPECIAL:
            changes += _SPECIAL[name](old, new)
        elif name in _APPLIED:
            changes.append(_applied(name, _APPLIED[name].replace("{}", _show(name, after))))
        else:
            changes.append(_refused(name, _REFUSED[name], before, after))
    return changes


def refusal(changes: list[Change]) -> str:
    """Why these changes cannot be made; empty if they can."""
    return next((change.text for change in changes if not change.reloadable), "")


def _applied(field: str, text: str) -> Change:
    return Change(field, True, f"Reloaded: {text}")


def _refused(field: str, name: str, before: object, after: object) -> Change:
    text = f"old={_show(field, before)}, new={_show(field, after)}"
    return Change(field, False, f"config reload not supported for {name}: {text}")


def _same(name: str, before: Any, after: Any) -> bool:
    if name in _LEFT_OPEN and after == _LEFT_OPEN[name]:
        return bool(before) or name == "workers"
    if before == after:
        return True
    return name in _UNORDERED and len(before) == len(after) and _same_entries(before, after)


def _same_entries(before: list[Any], after: list[Any]) -> bool:
    """In whatever order. Entries are found by how they look; those that differ in a secret only are told apart by ``==``."""
    found: dict[str, list[Any]] = {}
    for entry in after:
        found.setdefault(repr(entry), []).append(entry)
    for entry in before:
        alike = found.get(repr(entry), [])
        if entry not in alike:
            return False
        alike.remove(entry)
    return True


def _show(name: str, value: Any) -> str:
    """A value as Go's ``%v`` shows it, without the secrets in it."""
    if value is None:
        return "<nil>"
    if name == "write_timeout" and value == "default":
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, float):
        return format_float(value) if name in _SECONDS else format_duration(value)
    if isinstance(value, dict):
        entries = (f"{key}:{_show(name, value[key])}" for key in sorted(value))
        return f"map[{' '.join(entries)}]"
    if isinstance(value, list | frozenset):
        items = value if isinstance(value, list) else sorted(value)
        return f"[{' '.join(_show(name, item) for item in items)}]"
    if isinstance(value, str | int | Url):
        return str(value)
    parts = (f"{item.name}:{_show(item.name, getattr(value, item.name))}" for item in fields(value))
    return "{" + " ".join(parts) + "}"


# -- options with a rule of their own ------------------------------------------------------------------------------


def _no_auth_user(old: Options, new: Options) -> list[Change]:
    """It can go only together with its user."""
    if not new.no_auth_user and all(user.name != old.no_auth_user for user in new.users):
        return [_applied("no_auth_user", "no_auth_user")]
    return [_refused("no_auth_user", "NoAuthUser", old.no_auth_user, new.no_auth_user)]


def _client_advertise(_old: Options, new: Options) -> list[Change]:
    return [Change("client_advertise", True, f"Reload: client_advertise = {new.client_advertise}")]


def _no_fast_producer_stall(_old: Options, new: Options) -> list[Change]:
    unless = "not " if new.no_fast_producer_stall else ""
    return [_applied("no_fast_producer_stall", f"fast producers will {unless}be stalled")]


def _trusted_proxies(old: Options, new: Options) -> list[Change]:
    changes: list[Change] = []
    for what, some, others in (
        ("removed", old.trusted_proxies, new.trusted_proxies),
        ("added", new.trusted_proxies, old.trusted_proxies),
    ):
        keys = [quote(key) for key in some if key not in others]
        if keys:
            text = f"proxies trusted keys [{' '.join(keys)}] were {what}"
            changes.append(_applied("trusted_proxies", text))
    return changes


def _resolver(old: Options, new: Options) -> list[Change]:
    if old.resolver is None or new.resolver is None:
        text = "config reload does not support moving to or from an account resolver"
        return [Change("resolver", False, text)]
    return [_applied("resolver", "accounts")]


def _tls(old: Options, new: Options) -> list[Change]:
    """Certificates, and all that concerns a handshake, may change; a limit of handshakes may not."""
    from broker.options.sections import TlsOptions

    before, after = old.tls or TlsOptions(), new.tls or TlsOptions()
    changes: list[Change] = []
    for name, go_name in (("verify_and_map", "TLSMap"), ("connection_rate_limit", "TLSRateLimit")):
        if getattr(before, name) != getattr(after, name):
            changes.append(_refused("tls", go_name, getattr(before, name), getattr(after, name)))
    if (old.tls is None) != (new.tls is None) or _without_handshake(before) != _without_handshake(after):
        changes.append(_applied("tls", "tls = " + ("enabled" if new.tls else "disabled")))
    if before.timeout != after.timeout:
        changes.append(_applied("tls", f"tls timeout = {format_float(after.timeout)}"))
    if before.pinned_certs != after.pinned_certs:
        changes.append(_applied("tls", f"{len(after.pinned_certs)} pinned_certs"))
    if before.handshake_first != after.handshake_first:
        changes.append(
            _applied("tls", f"Client TLS handshake first: {_show('handshake_first', after.handshake_first)}")
        )
    if before.handshake_first_fallback != after.handshake_first_fallback:
        delay = format_duration(after.handshake_first_fallback)
        changes.append(_applied("tls", f"Client TLS handshake first fallback delay: {delay}"))
    return changes


def _without_handshake(tls: TlsOptions) -> TlsOptions:
    """What remains to be compared when the settings with a line of their own are left out."""
    from dataclasses import replace

    return replace(
        tls,
        verify_and_map=False,
        connection_rate_limit=0,
        timeout=0.0,
        pinned_certs=frozenset(),
        handshake_first=False,
        handshake_first_fallback=0.0,
    )


def _cluster(old: Options, new: Options) -> list[Change]:
    from broker.options.sections import ClusterOptions

    before, after = old.cluster or ClusterOptions(), new.cluster or ClusterOptions()
    for name in ("host", "port"):
        one, other = getattr(before, name), getattr(after, name)
        if not _same(name, one, other):
            return [_refused("cluster", f"cluster {name}", one, other)]
    changes: list[Change] = []
    if _differences(before, after, ("routes", "host", "port")):
        changes.append(_applied("cluster", "cluster"))
    if not _same("routes", before.routes, after.routes):
        changes.append(_applied("cluster", "cluster routes"))
    return changes


def _fixed_but_tls(field: str, go_name: str) -> Callable[[Options, Options], list[Change]]:
    """The rule of a section of which nothing but ``tls`` may change."""

    def rule(old: Options, new: Options) -> list[Change]:
        before, after = getattr(old, field), getattr(new, field)
        if before is None or after is None:
            return [_refused(field, go_name, before, after)]
        different = _differences(before, after, ("tls",))
        if different:
            one = " ".join(f"{name}:{_show(name, getattr(before, name))}" for name in different)
            other = " ".join(f"{name}:{_show(name, getattr(after, name))}" for name in different)
            text = f"config reload not supported for {go_name}: old={{{one}}}, new={{{other}}}"
            return [Change(field, False, text)]
        return [_applied(field, f"{field} tls")] if before.tls != after.tls else []

    return rule


def _differences(before: Any, after: Any, ignored: tuple[str, ...]) -> list[str]:
    """The fields in which two sections differ."""
    names = [item.name for item in fields(before) if item.name not in ignored]
    return [name for name in names if not _same(name, getattr(before, name), getattr(after, name))]


def _leafnodes(old: Options, new: Options) -> list[Change]:
    """Remotes come and go; the listener keeps all but its TLS and its compression."""
    from broker.options.sections import LeafnodeOptions

    before, after = old.leafnodes or LeafnodeOptions(), new.leafnodes or LeafnodeOptions()
    for name in _differences(before, after, ("compression", "remotes", "tls")):
        return [_leafnode_field("", before, after, name)]
    changes: list[Change] = []
    if before.tls != after.tls:
        changes.append(_applied("leafnodes", "LeafNode TLS"))
    if before.compression != after.compression:
        changes.append(_applied("leafnodes", f"LeafNode Compression value is: {after.compression.mode}"))
    return changes + _remotes(before, after)


def _remotes(before: LeafnodeOptions, after: LeafnodeOptions) -> list[Change]:
    changes: list[Change] = []
    known = {_remote_name(remote): remote for remote in before.remotes}
    for remote in after.remotes:
        name = _remote_name(remote)
        was = known.pop(name, None)
        if was is None:
            changes.append(_applied("leafnodes", f"LeafNode Remote {name} added"))
            continue
        for different in _differences(was, remote, ("compression", "disabled", "tls")):
            changes.append(_leafnode_field(f"remote {name}: ", was, remote, different))
        if _differences(was, remote, ()):
            changes.append(_applied("leafnodes", f"LeafNode Remote {name} changed"))
    return changes + [_applied("leafnodes", f"LeafNode Remote {name} removed") for name in known]


def _remote_name(remote: RemoteLeafnode) -> str:
    """What identifies a remote, without secrets."""
    urls = " ".join(sorted(quote(str(url)) for url in remote.urls))
    name = f"urls=[{urls}], account={quote(remote.account or '$G')}"
    if remote.credentials:
        return f"{name}, credentials={quote(remote.credentials)}"
    return f"{name}, nkey={quote(MASK)}" if remote.nkey is not None else name


def _leafnode_field(where: str, before: object, after: object, name: str) -> Change:
    one, other = _show(name, getattr(before, name)), _show(name, getattr(after, name))
    text = f"{where}field {quote(name)}: old={one}, new={other}"
    return Change("leafnodes", False, f"config reload not supported for LeafNode: {text}")


_SPECIAL: Final[dict[str, Callable[[Options, Options], list[Change]]]] = {
    "no_auth_user": _no_auth_user,
    "client_advertise": _client_advertise,
    "no_fast_producer_stall": _no_fast_producer_stall,
    "trusted_proxies": _trusted_proxies,
    "resolver": _resolver,
    "tls": _tls,
    "cluster": _cluster,
    "gateway": _fixed_but_tls("gateway", "Gateway"),
    "leafnodes": _leafnodes,
    "websocket": _fixed_but_tls("websocket", "Websocket"),
}
