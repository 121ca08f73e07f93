"""Operator mode: who signs accounts, and where their claims come from."""

from __future__ import annotations

import os
import re
from typing import Final, Literal

from broker.options import schema
from broker.options.gotext import GoError, parse_duration, quote
from broker.options.keys import public_key_kind
from broker.options.model import Options
from broker.options.parser import Node
from broker.options.report import NANOSECONDS, Report, read_bool, read_int, read_string, type_name
from broker.options.sections import ResolverOptions

_MEMORY: Final = re.compile(r"(MEM|MEMORY)\s*", re.IGNORECASE)
_URL: Final = re.compile(r'URL(?:\(\s*"?([^\s"]*)"?\s*\))?\s*', re.IGNORECASE)
_WRONG_RESOLVER: Final = (
    'error parsing account resolver, should be MEM or  URL("url") or a map containing dir and type '
    "state=[FULL|CACHE])"
)
_DURATIONS: Final = ("ttl", "interval", "timeout")
_KINDS: Final[dict[str, Literal["memory", "full", "cache"]]] = {
    "MEM": "memory",
    "MEMORY": "memory",
    "FULL": "full",
    "CACHE": "cache",
}


def read_operator_option(key: str, node: Node, options: Options, report: Report) -> None:
    """Set in ``options`` what the option called ``key`` says."""
    match key:
        case "operator" | "operators" | "root" | "roots" | "root_operator" | "root_operators":
            options.operators = _read_operators(node, report)
        case "resolver" | "account_resolver" | "accounts_resolver":
            options.resolver = _read_resolver(node, report)
        case "resolver_preload":
            options.resolver_preload = _read_preload(node, report)
        case "resolver_pinned_accounts":
            options.resolver_pinned_accounts = schema.strings(key)(key, node, report) or []
        case "resolver_tls":
            from broker.options.tls import read_tls

            options.resolver_tls = read_tls(node, report)
        case _:
            options.trusted_keys = _read_trusted_keys(node, report)


def _read_operators(node: Node, report: Report) -> list[str]:
    """Files or JWTs. What they claim is not looked at yet; that there is a JWT is."""
    if isinstance(node.value, list):
        found = [item.value for item in node.value if isinstance(item.value, str)]
        if len(found) < len(node.value):
            reason = "unsupported type *conf.token where string is expected"
            report.error(node, f"error parsing operators: {reason}")
    elif isinstance(node.value, str):
        found = [node.value]
    else:
        report.error(node, f"error parsing operators: unsupported type {type_name(node.value)}")
        return []
    for item in found:
        wrong = _wrong_operator(item)
        if wrong:
            report.error(node, f"error parsing operator JWT: {wrong}")
    return found


def _wrong_operator(text: str) -> str:
    if text.startswith("eyJ"):
        return ""
    try:
        with open(text, encoding="latin-1") as file:
            return "" if "eyJ" in file.read() else "expected 3 chunks"
    except IsADirectoryError:
        return f"read {text}: is a directory"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "invalid argument"
        return f"open {text}: {reason[:1].lower()}{reason[1:]}"


def _read_trusted_keys(node: Node, report: Report) -> list[str]:
    found: list[str] = schema.strings("trusted")("trusted", node, report) or []
    # The mistake has the place of the last key, as upstream.
    last = node.value[-1] if isinstance(node.value, list) and node.value else node
    for key in found:
        if public_key_kind(key) != "operator":
            report.error(last, f"trust key {quote(key)} required to be a valid public operator nkey")
    return found


def _read_preload(node: Node, report: Report) -> dict[str, str]:
    items = schema.section(node, report, "preload should be a map of account_public_key:account_jwt")
    found: dict[str, str] = {}
    for name, item in (items or {}).items():
        if not isinstance(item.value, str):
            report.error(item, "preload map value should be a string JWT")
        elif item.value.count(".") != 2:
            report.error(item, "invalid account JWT")
        else:
            found[name] = item.value
    return found


def _read_resolver(node: Node, report: Report) -> ResolverOptions | None:
    """``MEMORY``, ``URL(...)``, or a map."""
    if isinstance(node.value, dict):
        return _read_directory_resolver(node, node.value, report)
    if not isinstance(node.value, str):
        kind = type_name(node.value)
        report.error(node, f"error parsing operator resolver, wrong type {kind}")
        return None
    if _MEMORY.search(node.value):
        return ResolverOptions("memory")
    match = _URL.search(node.value)
    if match is None:
        report.error(node, _WRONG_RESOLVER)
        return None
    url = match.group(1) or ""
    if schema.parse_url(url) is None:
        report.error(node, f"error parsing account resolver url [{quote(schema.mask_url(url))}]")
        return None
    if not url:
        report.error(node, "URL Account Resolver requires an url")
        return None
    return ResolverOptions("url", url)


def _read_directory_resolver(node: Node, items: dict[str, Node], report: Report) -> ResolverOptions | None:
    before = len(report.errors)
    kind_node = items.get("type")
    kind_text = (read_string(kind_node, report) or "") if kind_node is not None else ""
    kind = _KINDS.get(kind_text.upper())
    if kind is None:
        if len(report.errors) == before:
            report.error(node, _WRONG_RESOLVER)
        return None
    resolver = ResolverOptions(kind)
    for name, item in items.items():
        match name:
            case "dir":
                resolver.directory = read_string(item, report) or ""
            case "allow_delete" | "hard_delete":
                setattr(resolver, name, read_bool(item, report) or False)
            case "limit":
                resolver.limit = read_int(item, report) or 0
            case "ttl" | "interval" | "timeout":
                setattr(resolver, name, _read_duration(node, item, report))
    if kind != "memory" and len(report.errors) == before:
        for wrong in _wrong_directory(resolver, "hard_delete" in items):
            report.error(node, wrong)
    return resolver if len(report.errors) == before else None


def _read_duration(node: Node, item: Node, report: Report) -> float:
    value = read_string(item, report)
    try:
        return parse_duration(value) / NANOSECONDS if value is not None else 0.0
    except GoError as error:
        report.error(node, str(error))
        return 0.0


def _wrong_directory(resolver: ResolverOptions, hard_delete_set: bool) -> list[str]:
    """What does not go together in a resolver that keeps claims in a directory."""
    wrong: list[str] = []
    path = resolver.directory
    if not path:
        wrong.append("dir has no value and needs to point to a directory")
    elif os.path.exists(path) and not (os.path.isdir(path) and os.stat(path).st_mode & 0o200):
        wrong.append("dir needs to point to an accessible directory")
    if resolver.kind == "cache":
        if resolver.interval:
            wrong.append("CACHE does not accept sync")
        if resolver.allow_delete:
            wrong.append("CACHE does not accept allow_delete")
        if hard_delete_set:
            wrong.append("CACHE does not accept hard_delete")
    else:
        if resolver.ttl:
            wrong.append("FULL does not accept ttl")
        if hard_delete_set and not resolver.allow_delete:
            wrong.append("hard_delete has no effect without delete")
    return wrong
