"""The ``accounts`` section: accounts, their users, and what they offer to and take from each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from broker.options import schema
from broker.options.authorization import is_subject, read_permissions, read_users
from broker.options.gotext import INT32_MAX, GoError, parse_duration, parse_int, quote
from broker.options.keys import public_key_kind
from broker.options.mappings import read_mappings
from broker.options.model import NkeyUser, Options, User
from broker.options.parser import Node
from broker.options.report import (
    NANOSECONDS,
    Report,
    read_bool,
    read_int,
    read_string,
    show,
    type_name,
)
from broker.options.sections import AccountLimits, AccountOptions, Export, Import
from broker.options.sharing import Sharing, wrong_export, wrong_latency

_RESERVED: Final = frozenset(("$G",))
_ACCOUNT_KEYS: Final = (
    *("nkey", "imports", "exports", "jetstream", "users", "default_permissions", "mappings", "maps"),
    *("limits", "msg_trace", "trace_dest"),
)
_LIMITS: Final = {
    "max_connections": "max_connections",
    "max_conn": "max_connections",
    "max_subscriptions": "max_subscriptions",
    "max_subs": "max_subscriptions",
    "max_payload": "max_payload",
    "max_pay": "max_payload",
    "max_leafnodes": "max_leafnodes",
    "max_leafs": "max_leafnodes",
}
_RESPONSE_TYPES: Final[dict[str, Literal["single", "stream", "chunked"]]] = {
    "single": "single",
    "singleton": "single",
    "stream": "stream",
    "chunk": "chunked",
    "chunked": "chunked",
}
_EXPORT_KEYS: Final = (
    *("stream", "service", "response", "response_type", "threshold", "response_threshold"),
    *("response_max_time", "response_time", "accounts", "latency", "account_token_position", "allow_trace"),
)
_IMPORT_KEYS: Final = ("stream", "service", "prefix", "to", "share", "allow_trace")


@dataclass(slots=True)
class _Sharing:
    """Exports and imports, with the account and the place of each, until all accounts are known."""

    exports: list[tuple[AccountOptions, Export]] = field(default_factory=list)
    imports: list[tuple[AccountOptions, Import]] = field(default_factory=list)
    users: set[str] = field(default_factory=set)  # names and nkeys of all users so far


def read_accounts(node: Node, options: Options, report: Report) -> None:
    """Add the accounts of the section at ``node``, and their users, to ``options``."""
    before = len(report.errors)
    if isinstance(node.value, list):
        _read_names(node.value, options, report)
        return
    if not isinstance(node.value, dict):
        return  # nats-server overlooks anything else, too
    sharing = _Sharing(users={user.name for user in options.users} | {user.nkey for user in options.nkeys})
    for name, item in node.value.items():
        if item.used:
            continue  # a variable
        if not isinstance(item.value, dict):
            report.error(item, "Expected map entries for accounts")
        elif name in _RESERVED:
            report.error(item, f"{quote(name)} is a Reserved Account")
        else:
            account = AccountOptions(name)
            options.accounts.append(account)
            _read_account(account, item.value, options, sharing, report)
    if len(report.errors) == before:
        _check_sharing(node, options.accounts, sharing, report)
        _check_latency(node, sharing, options.no_system_account, report)


def _read_names(names: list[Node], options: Options, report: Report) -> None:
    seen: set[str] = set()
    for item in names:
        name = read_string(item, report)
        if name is None:
            continue
        if name in _RESERVED:
            report.error(item, f"{quote(name)} is a Reserved Account")
        elif name in seen:
            report.error(item, f"Duplicate Account Entry: {name}")
        else:
            seen.add(name)
            options.accounts.append(AccountOptions(name))


def _read_account(
    account: AccountOptions, values: dict[str, Node], options: Options, sharing: _Sharing, report: Report
) -> None:
    users: list[User] = []
    nkeys: list[NkeyUser] = []
    users_node: Node | None = None
    permissions = None
    for name, item in values.items():
        match name.lower():
            case "nkey":
                if isinstance(item.value, str) and public_key_kind(item.value) == "account":
                    account.nkey = item.value
                else:
                    shown = quote(item.value) if isinstance(item.value, str) else show(item.value)
                    report.error(item, f"Not a valid public nkey for an account: {shown}")
            case "imports":
                for entry in schema.entries(item, report, "Imports should be an array, got {T}") or ():
                    _add_import(entry, account, sharing, report)
            case "exports":
                for entry in schema.entries(item, report, "Exports should be an array, got {T}") or ():
                    for export in _read_export(entry, report):
                        account.exports.append(export)
                        sharing.exports.append((account, export))
            case "jetstream":
                from broker.options.foreign import read_account_jetstream

                account.jetstream = read_account_jetstream(item, report)
            case "users":
                users_node = item
                nkeys, users = read_users(item, report, placed=False) or ([], [])
            case "default_permissions":
                permissions = read_permissions(item, report)
            case "mappings" | "maps":
                account.mappings = read_mappings(item, report)
            case "limits":
                account.limits = _read_limits(item, report)
            case "msg_trace" | "trace_dest":
                _read_msg_trace(name, item, account, report)
            case _:
                report.unknown_field(name, item, _ACCOUNT_KEYS)
    if users_node is not None:
        _add_users(users, nkeys, sharing.users, users_node, options, report)
    for user in users:
        user.account, user.permissions = account.name, user.permissions or permissions
    for nkey_user in nkeys:
        nkey_user.account, nkey_user.permissions = account.name, nkey_user.permissions or permissions


def _add_users(
    users: list[User],
    nkeys: list[NkeyUser],
    names: set[str],
    node: Node,
    options: Options,
    report: Report,
) -> None:
    """Users are those of the server: no two may have the same name, whatever their accounts."""
    if (users or nkeys) and options.username:
        report.error(node, "Can not have a single user/pass and accounts")
        return
    if (users or nkeys) and options.token is not None:
        report.error(node, "Can not have a token and accounts")
        return
    for nkey_user in nkeys:
        if nkey_user.nkey in names:
            report.error(node, f"Duplicate nkey {quote(nkey_user.nkey)} detected")
        names.add(nkey_user.nkey)
    for user in users:
        if user.name in names:
            report.error(node, f"Duplicate user {quote(user.name)} detected")
        names.add(user.name)
    options.users += users
    options.nkeys += nkeys


def _read_limits(node: Node, report: Report) -> AccountLimits:
    limits = AccountLimits()
    for name, item in (
        schema.section(node, report, "Expected account limits to be a map/struct, got {v}") or {}
    ).items():
        limit = _LIMITS.get(name.lower())
        if limit is None:
            report.unknown_field(name, item, _LIMITS, "Unknown field {} parsing account limits")
            continue
        value = read_int(item, report)
        if value is not None:
            # None is -1; what is less allows nothing. nats-server lets large ones wrap round: to nothing, or to anything.
            setattr(limits, limit, -1 if value == -1 else min(max(value, 0), INT32_MAX))
    return limits


# -- traces of messages -----------------------------------------------------------------------------------------------


def _read_msg_trace(name: str, node: Node, account: AccountOptions, report: Report) -> None:
    """A subject, or a map with a subject and a share of the messages in percent."""
    if not isinstance(node.value, dict):
        if isinstance(node.value, str):
            account.trace_dest = _read_trace_dest(name, node, report)
            account.trace_sampling = 100
        else:
            kind = type_name(node.value)
            report.error(
                node,
                f"Expected account message trace {quote(name)} to be a string or a map/struct, got {kind}",
            )
        return
    for key, item in node.value.items():
        match key.lower():
            case "dest":
                account.trace_dest = _read_trace_dest(key, item, report)
            case "sampling":
                account.trace_sampling = _read_trace_sampling(key, item, report)
            case _:
                reason = f"Unknown field {{}} parsing account message trace map/struct {quote(name)}"
                report.unknown_field(key, item, ("dest", "sampling"), reason)
    if account.trace_dest and not account.trace_sampling:
        account.trace_sampling = 100
    elif account.trace_sampling and not account.trace_dest:
        report.doubt(node, "Trace destination sampling ignored since no destination was set")
        account.trace_sampling = 0


def _read_trace_dest(name: str, node: Node, report: Report) -> str:
    if not isinstance(node.value, str):
        report.error(node, f"Field {quote(name)} should be a string, got {type_name(node.value)}")
        return ""
    if not is_subject(node.value) or "*" in node.value.split(".") or ">" in node.value.split("."):
        report.error(node, f"Trace destination {quote(node.value)} is not valid")
    return node.value


def _read_trace_sampling(name: str, node: Node, report: Report) -> int:
    value = node.value
    if isinstance(value, str):
        try:
            value = parse_int(value.removesuffix("%"))
        except GoError:
            report.error(node, f"Invalid trace destination sampling value {quote(str(node.value))}")
            return 0
    if not isinstance(value, int) or isinstance(value, bool):
        kind = type_name(value)
        reason = (
            f"Trace destination sampling field {quote(name)} should be an integer or a percentage, got {kind}"
        )
        report.error(node, reason)
        return 0
    if not 0 < value <= 100:
        # The misspelt word is nats-server's.
        report.error(node, f"Ttrace destination sampling value {value} is invalid, needs to be [1..100]")
    return value


# -- exports ----------------------------------------------------------------------------------------------------------


def _read_export(node: Node, report: Report) -> Iterable[Export]:
    """The stream or service that one entry offers; nothing, if it names none."""
    items = schema.section(node, report, "Export Items should be a map with type entry, got {T}")
    export = Export("stream", "")
    kind: Node | None = None
    service_only: dict[str, Node] = {}
    for name, item in (items or {}).items():
        key = name.lower()
        match key:
            case "stream" | "service":
                if kind is not None and export.kind != key:
                    other = "service" if key == "stream" else "stream"
                    shown = quote(item.value) if isinstance(item.value, str) else show(item.value)
                    report.error(item, f"Detected {key} {shown} but already saw a {other}")
                elif isinstance(item.value, str):
                    export.kind, export.subject, kind = key, item.value, item
                else:
                    kind_of = type_name(item.value)
                    report.error(item, f"Expected {key} name to be string, got {kind_of}")
            case "response" | "response_type":
                service_only["response"] = item
                export.response_type = _read_response_type(item, report)
            case "threshold" | "response_threshold" | "response_max_time" | "response_time":
                service_only["response"] = item
                export.response_threshold = _read_threshold(item, report)
            case "accounts":
                export.accounts = schema.list_of_strings(name, item, report)
            case "latency":
                service_only["latency"] = item
                _read_latency(item, export, report)
            case "account_token_position":
                export.account_token_position = read_int(item, report) or 0
            case "allow_trace":
                service_only["allow_trace"] = item
                export.allow_trace = read_bool(item, report) or False
            case _:
                report.unknown_field(name, item, _EXPORT_KEYS)
    if kind is None:
        return ()
    if export.kind == "stream":
        for directive, item in service_only.items():
            report.error(item, f"Detected {directive} directive on non-service")
    return (export,)


def _read_response_type(node: Node, report: Report) -> Literal["single", "stream", "chunked"]:
    if not isinstance(node.value, str):
        report.error(node, f"Expected response type to be string, got {type_name(node.value)}")
        return "single"
    found = _RESPONSE_TYPES.get(node.value.lower())
    if found is None:
        report.error(node, f"Unknown response type: {quote(node.value)}")
    return found or "single"


def _read_threshold(node: Node, report: Report) -> float:
    expected = "Expected response threshold to be a parseable time duration, got"
    if not isinstance(node.value, str):
        report.error(node, f"{expected} {type_name(node.value)}")
        return 0.0
    try:
        return parse_duration(node.value) / NANOSECONDS
    except GoError:
        report.error(node, f"{expected} {quote(node.value)}")
        return 0.0


def _read_latency(node: Node, export: Export, report: Report) -> None:
    """A subject, or a map of a subject and a share of the requests: in percent, or where a header asks for it."""
    export.latency_sampling = 100
    if isinstance(node.value, str):
        export.latency_subject = node.value
        return
    items = schema.section(node, report, "Expected latency entry to be a map/struct or string, got {T}")
    if items is None:
        return
    if "sampling" in items:
        export.latency_sampling = _read_latency_sampling(items["sampling"], report)
    if "subject" not in items:
        report.error(node, "Latency subject required, but missing")
    elif isinstance(items["subject"].value, str):
        export.latency_subject = items["subject"].value
    else:
        report.error(items["subject"], "Expected latency subject to be a string, got string")


def _read_latency_sampling(node: Node, report: Report) -> int:
    value = node.value
    if isinstance(value, str):
        if value.strip().lower() == "headers":
            return -1
        try:
            value = parse_int(value.removesuffix("%"))
        except GoError as error:
            report.error(node, f"Failed to parse latency sample: {error}")
            return 0
    if not isinstance(value, int) or isinstance(value, bool):
        report.error(node, f"Expected latency sample to be a string or map/struct, got {type_name(value)}")
        return 0
    if not 1 <= value <= 100:
        report.error(node, "bad sampling percentage, should be 1-100")
    return value


# -- imports ----------------------------------------------------------------------------------------------------------


def _add_import(node: Node, account: AccountOptions, sharing: _Sharing, report: Report) -> None:
    found = _read_import(node, report)
    if found is None:
        return
    for other in account.imports:
        if found.kind == other.kind == "service" and (found.to, found.account) == (other.to, other.account):
            report.error(
                node,
                f"Duplicate service import subject {quote(found.to)}, previously used in import for account "
                f"{quote(other.account)}, subject {quote(other.subject)}",
            )
            return
    account.imports.append(found)
    sharing.imports.append((account, found))


def _read_import(node: Node, report: Report) -> Import | None:
    """The stream or service that one entry takes; None if it names none."""
    items = schema.section(node, report, "Import Items should be a map with type entry, got {T}")
    found: Import | None = None
    to = prefix = ""
    share = allow_trace = False
    trace_node: Node | None = None
    for name, item in (items or {}).items():
        key = name.lower()
        match key:
            case "stream" | "service":
                if found is not None and found.kind != key:
                    report.error(item, f"Detected {key} but already saw a {found.kind}")
                else:
                    found = _read_source(key, item, report)
            case "prefix":
                prefix = read_string(item, report) or ""
            case "to":
                to = read_string(item, report) or ""
                if found is not None and found.kind == "stream" and prefix:
                    report.error(item, "Stream import can not have a 'prefix' and a 'to' property")
            case "share":
                share = read_bool(item, report) or False
            case "allow_trace":
                trace_node = item
                allow_trace = read_bool(item, report) or False
            case _:
                report.unknown_field(name, item, _IMPORT_KEYS)
    if found is None:
        return None
    if found.kind == "service":
        to = to or found.subject
        if trace_node is not None:
            report.error(trace_node, "Detected allow_trace directive on a non-stream")
    found.to, found.prefix, found.share, found.allow_trace = to, prefix, share, allow_trace
    return found


def _read_source(kind: Literal["stream", "service"], node: Node, report: Report) -> Import | None:
    items = schema.section(node, report, f"{kind.capitalize()} entry should be an account map, got {{T}}")
    if items is None:
        return None
    found = Import(kind, "", "")
    for name, item in items.items():
        match name.lower():
            case "account":
                found.account = read_string(item, report) or ""
            case "subject":
                found.subject = read_string(item, report) or ""
            case _:
                report.unknown_field(name, item, ("account", "subject"))
    if not found.account or not found.subject:
        report.error(node, "Expect an account name and a subject")
        return None
    return found


# -- what needs all accounts ------------------------------------------------------------------------------------------


def _check_sharing(node: Node, accounts: list[AccountOptions], found: _Sharing, report: Report) -> None:
    """Whether exports and imports fit each other. Mistakes have the place of the section, as upstream."""
    names = {account.name for account in accounts}
    for kind in ("stream", "service"):
        for _, export in found.exports:
            if export.kind == kind:
                _check_export(node, export, names, report)
    sharing = Sharing(accounts)
    for kind in ("stream", "service"):
        for account, one in found.imports:
            if one.kind != kind:
                continue
            if one.account not in names:
                report.error(node, f"{quote(one.account)} account not defined for {kind} import")
            elif error := sharing.add(account, one):
                report.error(node, error)


def _check_export(node: Node, export: Export, names: set[str], report: Report) -> None:
    for name in export.accounts or ():
        if name not in names:
            report.error(node, f"{quote(name)} account not defined for {export.kind} export")
    if error := wrong_export(export):
        report.error(node, error)


def _check_latency(node: Node, found: _Sharing, no_system_account: bool, report: Report) -> None:
    offered: dict[str, list[str]] = {}  # by account: services that came before, and the one at hand
    for account, export in found.exports:
        if export.kind == "stream":
            continue
        offered.setdefault(account.name, []).append(export.subject)
        if not export.latency_sampling:
            continue
        what = f"Error adding service latency sampling for {quote(export.subject)}"
        if no_system_account:
            report.error(node, f"{what}: system account not setup")
        elif error := wrong_latency(export, offered[account.name]):
            report.error(node, f"{what} on subject {quote(export.latency_subject)}: {error}")
