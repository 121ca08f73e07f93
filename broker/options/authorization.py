"""The ``authorization`` block: users, their passwords or nkeys, and what they may publish and subscribe."""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field
from typing import Final

from broker.options import known
from broker.options.gotext import GoError, parse_duration, quote
from broker.options.model import NkeyUser, Permissions, ResponsePermission, Secret, SubjectList, User
from broker.options.parser import Node
from broker.options.report import (
    NANOSECOND,
    Report,
    read_int,
    read_map,
    read_string,
    show,
    type_name,
)

CONNECTION_TYPES: Final = frozenset(
    ("STANDARD", "WEBSOCKET", "LEAFNODE", "LEAFNODE_WS", "MQTT", "MQTT_WS", "IN_PROCESS")
)

_HIGH_TIMEOUT: Final = 60.0  # seconds; more is most likely a unit mistake (``1m`` is a million)
_USER_KEY_PREFIX: Final = 20 << 3  # shows as "U" in base32
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
                block.timeout = _read_timeout(name, item, report)
            case "users":
                found = _read_users(item, report)
                if found is not None:
                    block.nkeys, block.users = found
            case "default_permission" | "default_permissions" | "permissions":
                block.default_permissions = read_permissions(item, report)
            case key if key in known.AUTHORIZATION:
                report.unsupported(name, item)
            case _:
                report.unknown_field(name, item)
    for user in (*(block.users or ()), *block.nkeys):
        if user.permissions is None:
            user.permissions = block.default_permissions
    return block


def _read_timeout(name: str, node: Node, report: Report) -> float:
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        report.error(node, "error parsing authorization config, 'timeout' wrong type")
        return 0.0
    if isinstance(value, str):
        try:
            seconds = parse_duration(value) * NANOSECOND
        except GoError as error:
            report.error(node, f"error parsing authorization config, 'timeout' {error}")
            return 0.0
    else:
        seconds = float(value)
    if seconds > _HIGH_TIMEOUT:
        report.warn(
            node,
            name,
            f"timeout of {show(value)} ({seconds:f} seconds) is high, consider keeping it under 60 seconds. "
            "possibly caused by unquoted duration; use '1m' instead of 1m, for example",
        )
    return seconds


def _read_users(node: Node, report: Report) -> tuple[list[NkeyUser], list[User]] | None:
    """The users list; None after reporting why it can not be used, though every entry has been looked at."""
    if not isinstance(node.value, list):
        report.error(node, f"Expected users field to be an array, got {show(node.value)}")
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
    unreadable = False
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
            case lower if lower in known.USER:
                report.unsupported(key, item)
            case _:
                report.unknown_field(key, item)
    if unreadable:
        return None
    if nkey:
        if not is_user_nkey(nkey):
            report.error(last, "Not a valid public nkey for a user")
        elif name or password:
            report.error(last, "Nkey users do not take usernames or passwords")
        else:
            return NkeyUser(nkey, permissions, connection_types)
        return None
    if name:
        return User(name, Secret(password), permissions, connection_types)
    report.error(last, "User entry requires a user")
    return None


def is_user_nkey(text: str) -> bool:
    """Whether ``text`` is a public user key: base32, the user prefix and a right checksum."""
    import base64  # few configurations have nkeys; the others start faster

    if not text.isascii() or "=" in text:
        return False
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except binascii.Error:
        return False
    if len(raw) < 4 or raw[0] != _USER_KEY_PREFIX:
        return False
    return binascii.crc_hqx(raw[:-2], 0) == int.from_bytes(raw[-2:], "little")


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
                _unknown_permission(name, item, report)
    return permissions


def _unknown_permission(name: str, node: Node, report: Report) -> None:
    if not node.used:
        report.error(node, f"Unknown field {quote(name)} parsing permissions")


def _read_subject_list(node: Node, report: Report) -> SubjectList:
    """``subject``, ``[subject, ...]`` (both mean allow) or ``{allow: ..., deny: ...}``."""
    if not isinstance(node.value, dict):
        # nats-server names no position for mistakes in this form.
        return SubjectList(allow=_read_subjects(node, report, None))
    subjects = SubjectList()
    for name, item in node.value.items():
        match name.lower():
            case "allow":
                subjects.allow = _read_subjects(item, report, item)
            case "deny":
                subjects.deny = _read_subjects(item, report, item)
            case _ if not item.used:
                report.error(
                    item,
                    f"Unknown field name {quote(name)} parsing subject permissions, "
                    "only 'allow' or 'deny' are permitted",
                )
    return subjects


def _read_subjects(node: Node, report: Report, position: Node | None) -> list[str]:
    """A subject or a list of them; mistakes are reported at ``position``."""
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
            position, f"Expected subject permissions to be a subject, or array of subjects, got {kind}"
        )
        return []
    for subject in subjects:
        wrong = _wrong_subject(subject)
        if wrong is not None:
            report.error(position, f"subject {quote(wrong)} is not a valid subject")
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
                _unknown_permission(name, item, report)
    return responses


def _read_expiry(node: Node, report: Report) -> float:
    if not isinstance(node.value, str):
        report.error(node, "error parsing expires, not a duration string")
        return 0.0
    try:
        return parse_duration(node.value) * NANOSECOND
    except GoError as error:
        report.error(node, f"error parsing expires: {error}")
        return 0.0
