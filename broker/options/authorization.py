"""The ``authorization`` block: users, their passwords or nkeys, and what they may publish and subscribe."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from broker.options import schema
from broker.options.gotext import GoError, parse_duration, quote
from broker.options.keys import public_key_kind
from broker.options.model import NkeyUser, Permissions, ResponsePermission, Secret, SubjectList, User
from broker.options.parser import Node
from broker.options.report import (
    NANOSECONDS,
    Report,
    read_bool,
    read_int,
    read_map,
    read_string,
    show,
    type_name,
)

if TYPE_CHECKING:
    from broker.options.sections import AuthCallout

CONNECTION_TYPES: Final = frozenset(
    ("STANDARD", "WEBSOCKET", "LEAFNODE", "LEAFNODE_WS", "MQTT", "MQTT_WS", "IN_PROCESS")
)

_HIGH_TIMEOUT: Final = 60.0  # seconds; more is most likely a unit mistake (``1m`` is a million)
_BLOCK_KEYS: Final = (
    *("user", "username", "pass", "password", "token", "timeout", "users", "auth_callout", "auth_hook"),
    *("default_permission", "default_permissions", "permissions", "proxy_required"),
)
_USER_KEYS: Final = (
    *("nkey", "user", "username", "pass", "password", "permission", "permissions", "authorization"),
    *("allowed_connection_types", "connection_types", "clients", "proxy_required"),
)
_PERMISSION_KEYS: Final = (
    *("pub", "publish", "import", "sub", "subscribe", "export"),
    *("publish_allow_responses", "allow_responses"),
)
_RESPONSE_KEYS: Final = ("max", "max_msgs", "max_messages", "max_responses", "expires", "expiration", "ttl")
_CALLOUT_KEYS: Final = (
    *("issuer", "account", "acc", "auth_users", "users", "xkey", "key", "allowed_accounts"),
)
_BLANKS_IN_SUBJECT: Final = re.compile(r"[\t\n\f\r ]")


@dataclass(slots=True)
class Authorization:
    """What one ``authorization`` block says. ``users`` and ``nkeys`` are None without a (valid) ``users``
    list.
    """

    username: str = ""
    password: str = ""
    token: str = ""
    timeout: float = 0.0  # seconds; 0: the default
    users: list[User] | None = None
    nkeys: list[NkeyUser] = field(default_factory=list)
    default_permissions: Permissions | None = None
    proxy_required: bool = False
    callout: AuthCallout | None = None

    def __repr__(self) -> str:
        return "Authorization(...)"  # it holds passwords


def read_authorization(node: Node, report: Report) -> Authorization | None:
    """The block at ``node``, with the default permissions given to the users that have none."""
    values = read_map(node, report)
    if values is None:
        return None
    block = Authorization()
    for name, item in values.items():
        match name.lower():
            case "user" | "username":
                block.username = read_string(item, report) or ""
            case "pass" | "password":
                block.password = read_string(item, report) or ""
            case "token":
                block.token = read_string(item, report) or ""
            case "timeout":
                block.timeout = read_timeout(name, item, report)
            case "users":
                found = read_users(item, report)
                if found is not None:
                    block.nkeys, block.users = found
            case "default_permission" | "default_permissions" | "permissions":
                block.default_permissions = read_permissions(item, report)
            case "proxy_required":
                block.proxy_required = read_bool(item, report) or False
            case "auth_callout" | "auth_hook":
                block.callout = _read_callout(item, report)
            case _:
                report.unknown_field(name, item, _BLOCK_KEYS)
    for user in (*(block.users or ()), *block.nkeys):
        if user.permissions is None:
            user.permissions = block.default_permissions
    return block


def read_timeout(name: str, node: Node, report: Report, section: str = "authorization") -> float:
    """Seconds of a ``timeout``; a high one is doubted."""
    seconds: float | None = schema.seconds(section)(name, node, report)
    if seconds is not None and seconds > _HIGH_TIMEOUT:
        report.warn(
            node,
            name,
            f"timeout of {show(node.value)} ({seconds:f} seconds) is high, consider keeping it under 60 seconds. "
            "possibly caused by unquoted duration; use '1m' instead of 1m, for example",
        )
    return seconds or 0.0


def read_users(node: Node, report: Report, placed: bool = True) -> tuple[list[NkeyUser], list[User]] | None:
    """The users list; None after reporting why it can not be used, though every entry has been looked at."""
    if not isinstance(node.value, list):
        report.error(node, f"Expected users field to be an array, got {show(node.value)}", placed)
        return None
    nkeys: list[NkeyUser] = []
    users: list[User] = []
    complete = True
    for entry in node.value:
        if not isinstance(entry.value, dict):
            report.error(entry, f"Expected user entry to be a map/struct, got {show(entry.value)}")
            continue
        user = _read_user(entry, entry.value, report)
        if isinstance(user, NkeyUser):
            nkeys.append(user)
        elif user is not None:
            users.append(user)
        else:
            complete = False
    return (nkeys, users) if complete else None


def _read_user(entry: Node, values: dict[str, Node], report: Report) -> User | NkeyUser | None:
    """One entry of a users list; None after reporting why it is none."""
    name = nkey = password = ""
    permissions: Permissions | None = None
    connection_types: frozenset[str] = frozenset()
    last = entry
    proxy_required = unreadable = False
    for key, item in values.items():
        last = item
        match key.lower():
            case "nkey":
                nkey = read_string(item, report) or ""
                unreadable |= not isinstance(item.value, str)
            case "user" | "username":
                name = read_string(item, report) or ""
                unreadable |= not isinstance(item.value, str)
            case "pass" | "password":
                password = read_string(item, report) or ""
                unreadable |= not isinstance(item.value, str)
            case "permission" | "permissions" | "authorization":
                permissions = read_permissions(item, report)
            case "allowed_connection_types" | "connection_types" | "clients":
                connection_types = _read_connection_types(item, report)
            case "proxy_required":
                proxy_required = read_bool(item, report) or False
            case _:
                report.unknown_field(key, item, _USER_KEYS)
    if unreadable:
        return None
    if nkey:
        if public_key_kind(nkey) != "user":
            report.error(last, "Not a valid public nkey for a user")
        elif name or password:
            report.error(last, "Nkey users do not take usernames or passwords")
        else:
            return NkeyUser(nkey, permissions, connection_types, proxy_required=proxy_required)
        return None
    if name:
        return User(name, Secret(password), permissions, connection_types, proxy_required=proxy_required)
    report.error(last, "User entry requires a user")
    return None


def _read_connection_types(node: Node, report: Report) -> frozenset[str]:
    names: list[str] = []
    if isinstance(node.value, str):
        names.append(node.value)
    elif isinstance(node.value, list):
        for item in node.value:
            if isinstance(item.value, str):
                names.append(item.value)
            else:
                kind = type_name(item.value)
                report.error(
                    item, f"error parsing allowed connection types: unsupported type in array {kind}"
                )
    else:
        kind = type_name(node.value)
        report.error(node, f"error parsing allowed connection types: unsupported type {kind}")
    types = [name.upper() for name in names]
    unknown = [name for name in types if name not in CONNECTION_TYPES]
    if unknown:
        report.error(node, f"invalid connection types [{' '.join(map(quote, unknown))}]")
    return frozenset(types) & CONNECTION_TYPES


def read_permissions(node: Node, report: Report) -> Permissions | None:
    """A permissions map. An empty one is a set of permissions, too: one that allows everything."""
    if not isinstance(node.value, dict):
        report.error(node, f"Expected permissions to be a map/struct, got {show(node.value)}")
        return None
    permissions = Permissions()
    for name, item in node.value.items():
        match name.lower():
            case "pub" | "publish" | "import":
                permissions.publish = _read_subject_list(item, report)
            case "sub" | "subscribe" | "export":
                permissions.subscribe = _read_subject_list(item, report)
            case "publish_allow_responses" | "allow_responses":
                permissions.responses = _read_responses(item, report)
            case _:
                _unknown_permission(name, item, _PERMISSION_KEYS, report)
    return permissions


def _unknown_permission(name: str, node: Node, known: Iterable[str], report: Report) -> None:
    report.unknown_field(name, node, known, "Unknown field {} parsing permissions")


def _read_subject_list(node: Node, report: Report) -> SubjectList:
    """``subject``, ``[subject, ...]`` (both mean allow) or ``{allow: ..., deny: ...}``."""
    if not isinstance(node.value, dict):
        # nats-server names no position for mistakes in this form.
        return SubjectList(allow=read_subjects(node, report, placed=False))
    subjects = SubjectList()
    for name, item in node.value.items():
        match name.lower():
            case "allow":
                subjects.allow = read_subjects(item, report)
            case "deny":
                subjects.deny = read_subjects(item, report)
            case _:
                report.unknown_field(
                    name,
                    item,
                    ("allow", "deny"),
                    "Unknown field name {} parsing subject permissions, only 'allow' or 'deny' are permitted",
                )
    return subjects


def read_subjects(node: Node, report: Report, placed: bool = True) -> list[str]:
    """A subject or a list of them."""
    subjects: list[str] = []
    if isinstance(node.value, str):
        subjects.append(node.value)
    elif isinstance(node.value, list):
        for item in node.value:
            if not isinstance(item.value, str):
                report.error(item, "Subject in permissions array cannot be cast to string")
                return []
            subjects.append(item.value)
    else:
        kind = type_name(node.value)
        report.error(
            node, f"Expected subject permissions to be a subject, or array of subjects, got {kind}", placed
        )
        return []
    for subject in subjects:
        wrong = _wrong_subject(subject)
        if wrong is not None:
            report.error(node, f"subject {quote(wrong)} is not a valid subject", placed)
            return []
    return subjects


def _wrong_subject(entry: str) -> str | None:
    """What is no subject in ``"subject"`` or ``"subject queue"``; None if all is well."""
    if is_subject(entry):
        return None
    parts = entry.split()
    if len(parts) != 2:
        return entry
    return None if is_subject(parts[0]) else parts[0]


def is_subject(text: str) -> bool:
    """Whether ``text`` is a subject, wildcards allowed: no empty token, no blank, nothing behind ``>``."""
    tokens = text.split(".")
    return "" not in tokens and ">" not in tokens[:-1] and _BLANKS_IN_SUBJECT.search(text) is None


def _read_responses(node: Node, report: Report) -> ResponsePermission | None:
    """A boolean, or a map of ``max`` and ``expires``; 0 stands for the default, negative for unlimited."""
    if isinstance(node.value, bool):
        return ResponsePermission() if node.value else None
    if not isinstance(node.value, dict):
        report.error(node, "error parsing response permissions, expected a boolean or a map")
        return None
    responses = ResponsePermission()
    for name, item in node.value.items():
        match name.lower():
            case "max" | "max_msgs" | "max_messages" | "max_responses":
                responses.max_messages = read_int(item, report) or responses.max_messages
            case "expires" | "expiration" | "ttl":
                responses.expires = _read_expiry(item, report) or responses.expires
            case _:
                _unknown_permission(name, item, _RESPONSE_KEYS, report)
    return responses


def _read_expiry(node: Node, report: Report) -> float:
    if not isinstance(node.value, str):
        report.error(node, "error parsing expires, not a duration string")
        return 0.0
    try:
        return parse_duration(node.value) / NANOSECONDS
    except GoError as error:
        report.error(node, f"error parsing expires: {error}")
        return 0.0


def _read_callout(node: Node, report: Report) -> AuthCallout | None:
    """Who is asked about connections, and on whose behalf; None after reporting what is missing."""
    values = schema.section(node, report, "Expected authorization callout to be a map/struct, got {v}")
    if values is None:
        return None
    from broker.options.sections import AuthCallout

    callout = AuthCallout()
    before = len(report.errors)
    last = node
    for name, item in values.items():
        last = item
        match name.lower():
            case "issuer":
                callout.issuer = read_string(item, report) or ""
                if public_key_kind(callout.issuer) != "account":
                    shown = quote(callout.issuer)
                    report.error(
                        item, f"Expected callout user to be a valid public account nkey, got {shown}"
                    )
            case "account" | "acc":
                callout.account = read_string(item, report) or callout.account
            case "auth_users" | "users":
                callout.auth_users = _read_names(item, "auth_users", report)
            case "xkey" | "key":
                callout.xkey = read_string(item, report) or ""
                if public_key_kind(callout.xkey) != "curve":
                    shown = quote(callout.xkey)
                    report.error(item, f"Expected callout xkey to be a valid public xkey, got {shown}")
            case "allowed_accounts":
                callout.allowed_accounts = _read_names(item, "allowed accounts", report)
            case _:
                report.unknown_field(
                    name, item, _CALLOUT_KEYS, "Unknown field {} parsing authorization callout"
                )
    if len(report.errors) == before:
        if not callout.issuer:
            report.error(last, "Authorization callouts require an issuer to be specified")
        elif not callout.auth_users:
            report.error(last, "Authorization callouts require authorized users to be specified")
    return callout if len(report.errors) == before else None


def _read_names(node: Node, label: str, report: Report) -> list[str]:
    items = schema.entries(node, report, f"Expected {label} field to be an array, got {{T}}")
    names = [read_string(item, report) for item in items or ()]
    return [name for name in names if name is not None]
