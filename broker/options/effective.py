"""A configuration as text again: what a server makes of its file, its flags and the defaults.

The text is a configuration file that means the same. Secrets are masked, unless whoever asks keeps them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, Final, TypeAlias

from broker.options.gotext import format_duration
from broker.options.model import GLOBAL_ACCOUNT, NkeyUser, Options, Permissions, SubjectList, User
from broker.options.secret import MASK, Secret, Url

Plain: TypeAlias = "str | bool | int | float | list[Plain] | dict[str, Plain]"

# Options that stand somewhere else in a file than on the top level, or not at all.
_ELSEWHERE: Final = frozenset(
    (
        *("http_host", "http_port", "https_port", "trusted_proxies", "foreign"),
        *("username", "password", "token", "auth_timeout", "users", "nkeys", "default_permissions"),
        *("proxy_required", "auth_callout", "accounts", "mappings", "operators", "resolver"),
        *("config_file", "config_digest", "implied_user", "places"),
    )
)
# Written only when set: a zero or false there is no valid value, or says more than nothing does.
_ONLY_IF_SET: Final = frozenset(("trace_verbose", "trace_headers", "max_sub_tokens"))
_ONLY_IF_NOT_EMPTY: Final = (str, list, dict, type(None))
# Times that are numbers of seconds in a file; the others are durations.
_SECONDS: Final = frozenset(("auth_timeout",))


def effective_text(options: Options, secrets: bool = False) -> str:
    """The text of the configuration; with its ``secrets``, if they are asked for."""
    return "".join(f"{line}\n" for line in _lines(_values(options, _Writer(secrets)), ""))


def _values(options: Options, write: _Writer) -> dict[str, Plain]:
    values: dict[str, Plain] = {}
    for item in fields(Options):
        value = getattr(options, item.name)
        if item.name in _ELSEWHERE or (isinstance(value, _ONLY_IF_NOT_EMPTY) and not value):
            continue
        if item.name in _ONLY_IF_SET and not value:
            continue
        values[item.name] = write.value(item.name, value)
    for key, port in (("http", options.http_port), ("https", options.https_port)):
        if port:
            host = f"[{options.http_host}]" if ":" in options.http_host else options.http_host
            values[key] = f"{host}:{port}"
    if options.trusted_proxies:
        values["proxies"] = {"trusted": [{"key": key} for key in options.trusted_proxies]}
    users = write.users(options)
    values["authorization"] = _authorization(options, write, users.get(GLOBAL_ACCOUNT, []))
    if options.accounts:
        values["accounts"] = {
            account.name: write.account(account, users.get(account.name, [])) for account in options.accounts
        }
    if options.mappings:
        values["mappings"] = write.mappings(options.mappings)
    if options.operators:
        values["operator"] = [*options.operators]
    if options.resolver is not None:
        values["resolver"] = write.resolver(options.resolver)
    for feature in options.foreign:
        values[feature] = {} if feature == "mqtt" else True
    return values


def _authorization(options: Options, write: _Writer, users: list[Plain]) -> dict[str, Plain]:
    block: dict[str, Plain] = {}
    # Flags can set what a file may not: then only what outranks the rest, and so has an effect, is written.
    single = not options.users and not options.nkeys
    if single and options.token is not None:
        block["token"] = write.secret(options.token)
    elif single and (options.username or options.password is not None):
        block["user"] = options.username
        block["password"] = write.secret(options.password or Secret(""))
    block["timeout"] = options.auth_timeout
    if options.default_permissions is not None:
        block["default_permissions"] = _permissions(options.default_permissions)
    if users:
        block["users"] = users
    if options.proxy_required:
        block["proxy_required"] = True
    if options.auth_callout is not None:
        block["auth_callout"] = write.section(options.auth_callout)
    return block


def _permissions(permissions: Permissions) -> dict[str, Plain]:
    block: dict[str, Plain] = {}
    for side, subjects in (("publish", permissions.publish), ("subscribe", permissions.subscribe)):
        if subjects != SubjectList():
            block[side] = {"allow": [*subjects.allow], "deny": [*subjects.deny]}
    if permissions.responses is not None:
        expires = format_duration(permissions.responses.expires)
        block["allow_responses"] = {"max": permissions.responses.max_messages, "expires": expires}
    return block


class _Writer:
    """Turns typed values into plain ones, with or without secrets."""

    def __init__(self, secrets: bool) -> None:
        self._secrets = secrets

    def secret(self, value: Secret) -> str:
        return value.reveal() if self._secrets else MASK

    def value(self, name: str, value: Any) -> Plain:
        """One field, called ``name``."""
        if isinstance(value, Secret):
            return self.secret(value)
        if isinstance(value, Url):
            return value.reveal() if self._secrets else str(value)
        if isinstance(value, Permissions):
            return _permissions(value)
        if isinstance(value, float):
            return value if name in _SECONDS else format_duration(value)
        if isinstance(value, frozenset):
            return sorted(value)
        if isinstance(value, list):
            return [self.value(name, item) for item in value]
        if isinstance(value, dict):
            return {key: self.value(name, item) for key, item in value.items()}
        if isinstance(value, str | bool | int):
            return value
        return self.section(value)

    def section(self, value: Any) -> dict[str, Plain]:
        """A section, in the form that a file gives it."""
        special = _SECTIONS.get(type(value).__name__)
        return self.plain_section(value) if special is None else special(self, value)

    def listener(self, value: Any) -> dict[str, Plain]:
        """A section whose credentials are a block in it."""
        from dataclasses import replace

        names = [name for name in _CREDENTIALS if hasattr(value, name)]
        defaults = type(value)()
        bare = replace(value, **{name: getattr(defaults, name) for name in names})
        block = _Writer.plain_section(self, bare)
        credentials = {name: getattr(value, name) for name in names if getattr(value, name)}
        if credentials:
            block["authorization"] = {
                _CREDENTIALS[name]: [self.user(user, leaf=True) for user in one]
                if name == "users"
                else self.value(name, one)
                for name, one in credentials.items()
            }
        return block

    def plain_section(self, value: Any) -> dict[str, Plain]:
        """What differs from the defaults, field by field."""
        required = [""] * sum(item.default is item.default_factory is MISSING for item in fields(value))
        defaults = type(value)(*required)
        names = [
            item.name for item in fields(value) if getattr(value, item.name) != getattr(defaults, item.name)
        ]
        return {name: self.value(name, getattr(value, name)) for name in names}

    def tls(self, value: Any) -> dict[str, Plain]:
        block = self.plain_section(value)
        block.pop("handshake_first_fallback", None)
        if value.handshake_first_fallback:
            block["handshake_first"] = format_duration(value.handshake_first_fallback)
        return block

    def user(self, user: User | NkeyUser, leaf: bool = False) -> Plain:
        """An entry of a list of users; those of leaf nodes name their account."""
        entry: dict[str, Plain] = {}
        if isinstance(user, NkeyUser):
            entry["nkey"] = user.nkey
        else:
            entry["user"] = user.name
            entry["password"] = self.secret(user.password)
        if leaf:
            entry["account"] = user.account
        if user.permissions is not None:
            entry["permissions"] = _permissions(user.permissions)
        if user.connection_types:
            entry["allowed_connection_types"] = [*sorted(user.connection_types)]
        if user.proxy_required:
            entry["proxy_required"] = True
        return entry

    def users(self, options: Options) -> dict[str, list[Plain]]:
        """The users of each account that has some."""
        users: list[User | NkeyUser] = [*options.users, *options.nkeys]
        found: dict[str, list[Plain]] = {}
        for user in users:
            found.setdefault(user.account, []).append(self.user(user))
        return found

    def mappings(self, mappings: Any) -> dict[str, Plain]:
        return {
            mapping.source: [
                {"destination": one.subject, "weight": one.weight}
                | ({"cluster": one.cluster} if one.cluster else {})
                for one in mapping.destinations
            ]
            for mapping in mappings
        }

    def account(self, account: Any, users: list[Plain]) -> dict[str, Plain]:
        block: dict[str, Plain] = {"nkey": account.nkey} if account.nkey else {}
        if users:
            block["users"] = users
        if account.exports:
            block["exports"] = [self.export(export) for export in account.exports]
        if account.imports:
            block["imports"] = [self.imported(one) for one in account.imports]
        if account.mappings:
            block["mappings"] = self.mappings(account.mappings)
        limits = self.section(account.limits)
        if limits:
            block["limits"] = limits
        if account.trace_dest:
            block["msg_trace"] = {"dest": account.trace_dest, "sampling": account.trace_sampling}
        if account.jetstream:
            block["jetstream"] = True
        return block

    def export(self, export: Any) -> dict[str, Plain]:
        block: dict[str, Plain] = {export.kind: export.subject}
        if export.accounts is not None:
            block["accounts"] = [*export.accounts]
        if export.account_token_position:
            block["account_token_position"] = export.account_token_position
        if export.kind == "stream":
            return block
        block["response_type"] = export.response_type
        if export.response_threshold:
            block["response_threshold"] = format_duration(export.response_threshold)
        if export.latency_subject:
            sampling = "headers" if export.latency_sampling < 0 else export.latency_sampling
            block["latency"] = {"sampling": sampling, "subject": export.latency_subject}
        if export.allow_trace:
            block["allow_trace"] = True
        return block

    def imported(self, one: Any) -> dict[str, Plain]:
        block: dict[str, Plain] = {one.kind: {"account": one.account, "subject": one.subject}}
        for name in ("to", "prefix", "share", "allow_trace"):
            if getattr(one, name):
                block[name] = getattr(one, name)
        return block

    def resolver(self, resolver: Any) -> Plain:
        if resolver.kind == "url":
            return f'URL("{resolver.url}")'
        block: dict[str, Plain] = {"type": resolver.kind}
        if resolver.directory:
            block["dir"] = resolver.directory
        for name in ("allow_delete", "hard_delete", "limit"):
            if getattr(resolver, name):
                block[name] = getattr(resolver, name)
        for name in ("ttl", "interval", "timeout"):
            if getattr(resolver, name):
                block[name] = format_duration(getattr(resolver, name))
        return block


# The fields of a listener that stand in its block of credentials, and what they are called there.
_CREDENTIALS: Final = {
    "username": "user",
    "password": "password",
    "token": "token",
    "auth_timeout": "timeout",
    "users": "users",
    "nkey": "nkey",
    "account": "account",
    "proxy_required": "proxy_required",
}
_SECTIONS: Final[dict[str, Callable[[_Writer, Any], dict[str, Plain]]]] = {
    "TlsOptions": _Writer.tls,
    "ClusterOptions": _Writer.listener,
    "GatewayOptions": _Writer.listener,
    "LeafnodeOptions": _Writer.listener,
    "WebsocketOptions": _Writer.listener,
}


# -- text -----------------------------------------------------------------------------------------------------------


def _lines(values: dict[str, Plain], indent: str) -> list[str]:
    lines: list[str] = []
    for key, value in values.items():
        name = key if key.isidentifier() and key.isascii() else _quoted(key)
        if isinstance(value, dict) and value:
            lines += [f"{indent}{name} {{", *_lines(value, indent + "  "), f"{indent}}}"]
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            lines += [f"{indent}{name}: ["]
            for item in value:
                assert isinstance(item, dict)
                lines += [f"{indent}  {{", *_lines(item, indent + "    "), f"{indent}  }}"]
            lines += [f"{indent}]"]
        else:
            lines.append(f"{indent}{name}: {_scalar(value)}")
    return lines


def _scalar(value: Plain) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list):
        # A blank ends a number; a bracket would not.
        return f"[{', '.join(_scalar(item) for item in value)} ]" if value else "[]"
    if isinstance(value, dict):
        return "{}"
    return str(int(value)) if value == int(value) else f"{value:f}"


def _quoted(text: str) -> str:
    out = ['"']
    for char in text:
        code = ord(char)
        if char in '"\\':
            out.append("\\" + char)
        elif 0xDC80 <= code <= 0xDCFF:
            out.append(f"\\x{code - 0xDC00:02x}")
        elif code < 0x20 or code == 0x7F:
            out.append(f"\\x{code:02x}")
        else:
            out.append(char)
    out.append('"')
    return "".join(out)
