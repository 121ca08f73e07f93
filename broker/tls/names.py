"""verify_and_map: which configured user a client's certificate is.

A user's name may be an email address, a host name or a URI of the certificate's alternative names, or its subject: a
distinguished name in the form of RFC 2253 (most significant part last), or with its parts in another order. The parts
(RDNs) are compared whole: a part `OU=eng+UID=7` is neither `OU=eng` nor `UID=7`, or somebody with another UID could come
in as this user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from broker.tls.certificate import Certificate, read_string

_TYPES: Final = {
    "CN": "2.5.4.3",
    "SERIALNUMBER": "2.5.4.5",
    "C": "2.5.4.6",
    "L": "2.5.4.7",
    "ST": "2.5.4.8",
    "STREET": "2.5.4.9",
    "O": "2.5.4.10",
    "OU": "2.5.4.11",
    "POSTALCODE": "2.5.4.17",
    "DC": "0.9.2342.19200300.100.1.25",
    "UID": "0.9.2342.19200300.100.1.1",
    "EMAILADDRESS": "1.2.840.113549.1.9.1",
}
_NAMES: Final = {number: name for name, number in _TYPES.items()}
_SPECIAL: Final = frozenset(',+"\\<>;')
_HEX: Final = frozenset("0123456789abcdefABCDEF")

Rdn = frozenset[tuple[str, str]]  # pairs of type (a dotted number) and value


def subject_text(certificate: Certificate) -> str:
    """The subject in RFC 2253 form."""
    return ",".join(
        "+".join(f"{_NAMES.get(kind, kind)}={_escape(value)}" for kind, value in rdn)
        for rdn in reversed(certificate.subject)
    )


def _escape(value: str) -> str:
    text = "".join("\\" + char if char in _SPECIAL else char for char in value)
    if text[:1] in (" ", "#"):
        text = "\\" + text
    return text[:-1] + "\\ " if text.endswith(" ") and len(text) > 1 and not text.endswith("\\ ") else text


def parse_dn(text: str) -> list[Rdn] | None:
    """The parts of a distinguished name in the order of the text; None if it is none."""
    rdns: list[Rdn] = []
    pairs: list[tuple[str, str]] = []
    for raw, end in _split(text):
        kind, equals, value = raw.partition("=")
        number = _number(kind.strip())
        plain = _unescape(value)
        if not equals or number is None or plain is None:
            return None
        pairs.append((number, plain))
        if end != "+":
            rdns.append(frozenset(pairs))
            pairs = []
    return rdns


def _split(text: str) -> Iterable[tuple[str, str]]:
    """Pairs of a raw `type=value` and the separator behind it."""
    start = at = 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] in ",;+":
            yield text[start:at], text[at]
            start = at + 1
        at += 1
    yield text[start:], ""


def _number(kind: str) -> str | None:
    if kind[:1].isdigit():
        return kind if all(part.isdigit() for part in kind.split(".")) else None
    return _TYPES.get(kind.upper())


def _unescape(raw: str) -> str | None:
    text = raw.lstrip(" ")
    if text.startswith("#"):
        try:
            return read_string(bytes.fromhex(text[1:].rstrip(" ")))
        except (ValueError, IndexError):
            return None
    out = bytearray()
    keep = 0  # what an escape has said stays, also if it is a blank at the end
    at = 0
    while at < len(text):
        char = text[at]
        if char != "\\":
            out += char.encode("utf-8", "surrogateescape")
        elif len(pair := text[at + 1 : at + 3]) == 2 and set(pair) <= _HEX:
            out.append(int(pair, 16))
            at += 2
            keep = len(out)
        elif at + 1 < len(text):
            at += 1
            out += text[at].encode("utf-8", "surrogateescape")
            keep = len(out)
        else:
            return None
        at += 1
    value = bytes(out[:keep]) + bytes(out[keep:]).rstrip(b" ")
    return value.decode("utf-8", "surrogateescape")


def mapped_user(certificate: Certificate, users: Iterable[str]) -> str | None:
    """The user whose certificate this is: by alternative name, then by subject. None: nobody's."""
    names = dict.fromkeys(users)
    for name in (*certificate.emails, *certificate.hosts, *certificate.uris, subject_text(certificate)):
        if name and name in names:
            return name
    wanted = [frozenset(rdn) for rdn in reversed(certificate.subject)]
    if not wanted:
        return None
    shuffled: str | None = None
    for name in names:
        parts = parse_dn(name) if "=" in name else None
        if parts == wanted:
            return name
        if shuffled is None and parts is not None and Counter(parts) == Counter(wanted):
            shuffled = name
    return shuffled
