"""The ``leafnodes`` section: leaves of this server, and hubs that it is a leaf of."""

from __future__ import annotations

import re
from typing import Any, Final

from broker.options import schema
from broker.options.authorization import read_subjects, read_timeout
from broker.options.gotext import quote
from broker.options.keys import public_key_kind, seed_kind
from broker.options.links import read_compression
from broker.options.model import User
from broker.options.parser import Node
from broker.options.report import Report, read_bool, read_duration, read_string, show, type_name
from broker.options.schema import SEVERAL, Reader, duration, flag, keys, listen, number, secret, text
from broker.options.secret import MASK, Secret, Url
from broker.options.sections import LeafnodeOptions, ProxyOptions, RemoteLeafnode, TlsOptions
from broker.options.tls import read_tls

_OLDEST_VERSION: Final = (2, 8, 0)
_VERSION: Final = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:[-+].*)?")
_USER_KEYS: Final = ("user", "username", "pass", "password", "account", "proxy_required")


def read_leafnodes(node: Node, report: Report) -> LeafnodeOptions | None:
    """The section at ``node``."""
    items = schema.section(node, report, "Expected map to define a leafnode, got {T}")
    if items is None:
        return None
    leafnodes = LeafnodeOptions()
    schema.read_section(items, leafnodes, _LEAFNODES, report)
    return leafnodes


def _tls(_name: str, node: Node, report: Report) -> TlsOptions | None:
    return read_tls(node, report)


def _min_version(_name: str, node: Node, report: Report) -> str | None:
    value = read_string(node, report)
    if value is None:
        return None
    match = _VERSION.fullmatch(value)
    if match is None:
        report.error(node, "invalid leafnode's minimum version: invalid semver")
        return None
    if tuple(map(int, match.groups())) < _OLDEST_VERSION:
        report.error(node, "the minimum version should be at least 2.8.0")
        return None
    return value


# -- who may connect ------------------------------------------------------------------------------------------------


def _authorization(_name: str, node: Node, report: Report) -> dict[str, Any] | None:
    items = schema.section(
        node, report, "interface conversion: interface {} is {T}, not map[string]interface {}"
    )
    if items is None:
        return None
    block = LeafnodeOptions()
    schema.read_section(items, block, _AUTHORIZATION, report)
    if block.users:
        wrong = _wrong_users(block)
        if wrong:
            report.error(node, wrong)
    fields = ("username", "password", "nkey", "account", "users", "auth_timeout", "proxy_required")
    return {field: getattr(block, field) for field in fields}


def _wrong_users(block: LeafnodeOptions) -> str:
    if block.username:
        return "can not have a single user/pass and a users array"
    if block.nkey:
        return "can not have a single nkey and a users array"
    seen: set[str] = set()
    for user in block.users:
        if user.name in seen:
            return f"duplicate user {quote(user.name)} detected in leafnode authorization"
        seen.add(user.name)
    return ""


def _nkey(_name: str, node: Node, report: Report) -> str | None:
    value = read_string(node, report)
    if value is not None and public_key_kind(value) != "user":
        report.error(node, "Not a valid public nkey for leafnode authorization")
    return value


def _timeout(name: str, node: Node, report: Report) -> float:
    return read_timeout(name, node, report, "leafnode authorization")


def _users(_name: str, node: Node, report: Report) -> list[User]:
    users: list[User] = []
    for entry in schema.entries(node, report, "Expected users field to be an array, got {v}") or ():
        items = schema.section(entry, report, "Expected user entry to be a map/struct, got {v}")
        user = User("")
        for name, item in (items or {}).items():
            match name.lower():
                case "user" | "username":
                    user.name = read_string(item, report) or ""
                case "pass" | "password":
                    user.password = Secret(read_string(item, report) or "")
                case "account":
                    user.account = read_string(item, report) or ""
                case "proxy_required":
                    user.proxy_required = read_bool(item, report) or False
                case _:
                    report.unknown_field(name, item, _USER_KEYS)
        if items is not None:
            users.append(user)
    return users


# -- remotes --------------------------------------------------------------------------------------------------------


def _remotes(_name: str, node: Node, report: Report) -> list[RemoteLeafnode]:
    remotes: list[RemoteLeafnode] = []
    seen: set[object] = set()
    for entry in schema.entries(node, report, "Expected remotes field to be an array, got {T}") or ():
        items = schema.section(entry, report, "Expected remote leafnode entry to be a map/struct, got {v}")
        if items is None:
            continue
        remote = RemoteLeafnode()
        schema.read_section(items, remote, _REMOTE, report)
        last = next(reversed(items.values()), entry)
        if remote.credentials and remote.nkey is not None:
            report.error(last, "Remote leafnode can not have both creds and nkey defined")
        proxy = next((item for name, item in items.items() if name.lower() == "proxy"), None)
        wrong = _wrong_proxy(remote.proxy) if remote.proxy is not None else ""
        if proxy is not None and wrong:
            report.error(proxy, wrong)
            continue
        # Remotes of the global account may leave it out.
        identity = (tuple(remote.urls), remote.account or "$G", remote.credentials, remote.nkey)
        if identity in seen:
            urls = " ".join(quote(str(url)) for url in remote.urls)
            account = quote(remote.account or "$G")
            report.error(last, f"duplicate remote urls=[{urls}], account={account}{_credentials(remote)}")
        seen.add(identity)
        remotes.append(remote)
    return remotes


def _credentials(remote: RemoteLeafnode) -> str:
    if remote.credentials:
        return f", credentials={quote(remote.credentials)}"
    return f", nkey={quote(MASK)}" if remote.nkey is not None else ""


def _wrong_proxy(proxy: ProxyOptions) -> str:
    """Why the proxy can not be used; empty if it can."""
    if not proxy.url:
        return ""
    url = schema.parse_url(proxy.url)
    if url is None:
        return "invalid proxy URL"
    if url.scheme not in ("http", "https"):
        return f"proxy URL scheme must be http or https, got: {url.scheme}"
    if not url.host:
        return "proxy URL must specify a host"
    if proxy.timeout < 0:
        return "proxy timeout must be >= 0"
    if bool(proxy.username) != (proxy.password is not None):
        return "proxy username and password must both be specified or both be empty"
    return ""


def _urls(_name: str, node: Node, report: Report) -> list[Url] | None:
    if isinstance(node.value, list):
        return schema.read_urls(node, "leafnode", report)
    if isinstance(node.value, str):
        url = schema.read_url(node, "leafnode", report)
        return None if url is None else [url]
    shown = show(node.value)
    report.error(node, f"Expected remote leafnode url to be an array or string, got {shown}")
    return None


def _seed(_name: str, node: Node, report: Report) -> Secret | None:
    value = read_string(node, report)
    if value is None:
        return None
    if seed_kind(value) != "user":
        report.error(node, f"Remote leafnode nkey is not a valid seed: {quote(MASK)}")
        return None
    return Secret(value)


def _subjects(_name: str, node: Node, report: Report) -> list[str]:
    return read_subjects(node, report)


def _migrate(_name: str, node: Node, report: Report) -> bool | None:
    if isinstance(node.value, bool):
        return node.value
    if isinstance(node.value, dict):
        for key, item in node.value.items():
            if key == "leader_migrate_delay":
                read_duration(key, item, report)
        return True
    kind = type_name(node.value)
    report.error(node, f"Expected boolean or map for jetstream_cluster_migrate, got {kind}")
    return None


def _first_info_timeout(name: str, node: Node, report: Report) -> float | None:
    return read_duration(name, node, report)


def _proxy(_name: str, node: Node, report: Report) -> ProxyOptions | None:
    items = schema.section(node, report, "Expected proxy to be a map, got {T}")
    if items is None:
        return None
    proxy = ProxyOptions()
    schema.read_section(items, proxy, _PROXY, report)
    return proxy


_LEAFNODES: Final[dict[str, tuple[str, Reader]]] = {
    **keys(SEVERAL, listen(), "listen"),
    **keys("host", text, "host", "net"),
    **keys("port", number),
    **keys(SEVERAL, _authorization, "authorization"),
    **keys("remotes", _remotes),
    **keys("reconnect", duration("reconnect"), "reconnect", "reconnect_delay", "reconnect_interval"),
    **keys("tls", _tls),
    **keys("advertise", text, "advertise", "leafnode_advertise"),
    **keys("no_advertise", flag),
    **keys("min_version", _min_version, "min_version", "minimum_version"),
    **keys("compression", read_compression("s2_auto")),
    **keys("isolate_leafnode_interest", flag, "isolate_leafnode_interest", "isolate"),
    **keys("write_deadline", duration("write_deadline")),
    **keys("write_timeout", schema.write_timeout),
}
_AUTHORIZATION: Final[dict[str, tuple[str, Reader]]] = {
    **keys("username", text, "user", "username"),
    **keys("password", secret, "pass", "password"),
    **keys("nkey", _nkey),
    **keys("auth_timeout", _timeout, "timeout"),
    **keys("users", _users),
    **keys("account", text),
    **keys("proxy_required", flag),
}
_REMOTE: Final[dict[str, tuple[str, Reader]]] = {
    **keys("no_randomize", flag, "no_randomize", "dont_randomize"),
    **keys("urls", _urls, "url", "urls"),
    **keys("account", text, "account", "local"),
    **keys("credentials", text, "creds", "credentials"),
    **keys("nkey", _seed, "nkey", "seed"),
    **keys("tls", _tls),
    **keys("hub", flag),
    **keys("deny_imports", _subjects, "deny_imports", "deny_import"),
    **keys("deny_exports", _subjects, "deny_exports", "deny_export"),
    **keys(
        "ws_compression",
        flag,
        *("ws_compress", "ws_compression", "websocket_compress", "websocket_compression"),
    ),
    **keys("ws_no_masking", flag, "ws_no_masking", "websocket_no_masking"),
    **keys("jetstream_cluster_migrate", _migrate, "jetstream_cluster_migrate", "js_cluster_migrate"),
    **keys("isolate_leafnode_interest", flag, "isolate_leafnode_interest", "isolate"),
    **keys("request_isolation", flag),
    **keys("compression", read_compression("s2_auto")),
    **keys("first_info_timeout", _first_info_timeout),
    **keys("disabled", flag),
    **keys("proxy", _proxy),
    **keys("ignore_discovered_servers", flag),
}
_PROXY: Final[dict[str, tuple[str, Reader]]] = {
    **keys("url", text),
    **keys("username", text),
    **keys("password", secret),
    **keys("timeout", duration("proxy timeout")),
}
