"""CONNECT: what a client says about itself and what it asks for.

The rules are those of the JSON decoder that nats-server uses, because clients in the field rely on its
tolerance and its strictness: keys match without regard to case, unknown keys and ``null`` change nothing, a
wrong type or malformed JSON ends the connection, and a second CONNECT overrides only what it names.
"""

from __future__ import annotations

import json
import re
from copy import copy
from dataclasses import dataclass, field, fields
from typing import Any, Final

_INT64_MIN: Final = -(1 << 63)
_INT64_MAX: Final = (1 << 63) - 1
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class Connect:
    """The options of one client, with the values that hold before any CONNECT.

    ``protocol`` is any int64 here (only 0 and 1 are served); strings hold any characters but lone surrogates.
    Secrets are kept out of ``repr``.
    """

    verbose: bool = True
    pedantic: bool = True
    echo: bool = True
    tls_required: bool = False
    user: str = ""
    password: str = field(default="", repr=False)  # "pass" on the wire
    auth_token: str = field(default="", repr=False)
    nkey: str = ""
    sig: str = field(default="", repr=False)
    jwt: str = field(default="", repr=False)
    name: str = ""
    lang: str = ""
    version: str = ""
    protocol: int = 0
    headers: bool = False
    no_responders: bool = False
    account: str = ""
    new_account: bool = False
    proxy_sig: str = field(default="", repr=False)


_DEFAULTS: Final = Connect()
_KEYS: Final[dict[str, tuple[str, Any]]] = {  # key on the wire: (attribute, its type)
    "pass" if f.name == "password" else f.name: (f.name, type(getattr(_DEFAULTS, f.name)))
    for f in fields(Connect)
}


class _Object(list[tuple[str, Any]]):
    """A JSON object as its members in order: one may come twice, in different case, with different types."""


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_Object, parse_constant=_refuse_constant)


def decode(data: bytes, previous: Connect | None) -> Connect | None:
    """The options after a CONNECT with the JSON text ``data``, over those of the ``previous`` one.

    None: close the connection without an error text. ``previous`` is not changed. Never raises.
    """
    try:
        members = _DECODER.decode(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):  # RecursionError: nested deeper than any client has reason to
        return None
    connect = Connect() if previous is None else copy(previous)
    if members is None:
        return connect
    if type(members) is not _Object:
        return None
    for key, value in members:
        known = _KEYS.get(key) or _KEYS.get(_fold(key))
        if known is None or value is None:
            continue
        name, kind = known
        if type(value) is not kind:
            return None
        if kind is str and not value.isascii():
            value = _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
        elif kind is int and not _INT64_MIN <= value <= _INT64_MAX:
            return None
        setattr(connect, name, value)
    return connect


def _fold(key: str) -> str:
    """``key`` in lower case; a long s and a Kelvin sign count as s and k, as Unicode folds them."""
    return key.lower().replace("\N{LATIN SMALL LETTER LONG S}", "s")


def is_object(data: bytes) -> bool:
    """Whether ``data`` is the JSON text of an object. Never raises."""
    try:
        return type(_DECODER.decode(data.decode("utf-8", "replace"))) is _Object
    except (ValueError, RecursionError):
        return False


def encode(connect: Connect) -> bytes:
    """JSON that ``decode`` turns into ``connect`` again: only what differs from the defaults."""
    values = {}
    for key, (name, _) in _KEYS.items():
        value = getattr(connect, name)
        if value != getattr(_DEFAULTS, name):
            values[key] = value
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()


_SECRETS: Final = ("pass", "auth_token", "nkey", "sig", "proxy_sig")
_SECRET: Final = re.compile(
    rf'("(?:{"|".join(_SECRETS)})"\s*:\s*")(?:[^"\\]|\\.)*("|\\?$)', re.IGNORECASE | re.DOTALL
)


def redacted(data: bytes) -> str:
    """The JSON text of a CONNECT for a trace: as it came, but for the secrets in it. Never raises."""
    text, masked = _SECRET.subn(r"\1[REDACTED]\2", data.decode("utf-8", "replace"))
    try:
        members = _DECODER.decode(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return text
    if type(members) is not _Object:
        return text
    secrets = sum(_fold(key) in _SECRETS and type(value) is str for key, value in members)
    if secrets <= masked:
        return text
    # A key that is written in an unusual way (with escapes) was overlooked.
    shown = {key: "[REDACTED]" if _fold(key) in _SECRETS else value for key, value in members}
    return json.dumps(shown, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Meta:
    """What is shown of a client as long as it lives."""

    name: str = ""
    lang: str = ""
    version: str = ""

    @property
    def client(self) -> str:
        """The client as log lines name it: ``v<version>:<lang>:<name>``, without what it did not give."""
        version = f"v{self.version}" if self.version else ""
        return ":".join(part for part in (version, self.lang, self.name) if part)
