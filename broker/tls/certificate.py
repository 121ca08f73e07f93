"""What we need to know of a certificate, read from its DER form: names, public key, validity.

OpenSSL has parsed and verified a peer's certificate before it is read here, and our own are the operator's; so this
reads what is well formed and refuses the rest with a ValueError. (X.509: RFC 5280; DER: definite lengths, one way to
write each value.)
"""

from __future__ import annotations

import calendar
import hashlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_SEQUENCE, _SET, _OID, _OCTETS = 0x30, 0x31, 0x06, 0x04
_UTC_TIME, _BMP_STRING, _UNIVERSAL_STRING, _LATIN_STRING = 0x17, 0x1E, 0x1C, 0x14
_VERSION, _EXTENSIONS = 0xA0, 0xA3
_EMAIL, _DNS, _URI = 0x81, 0x82, 0x86
_SUBJECT_ALT_NAME: Final = "2.5.29.17"
_PEM: Final = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----")


@dataclass(slots=True, frozen=True)
class Certificate:
    """A certificate's subject (in the order of the certificate), alternative names, key and end."""

    subject: tuple[tuple[tuple[str, str], ...], ...]
    emails: tuple[str, ...]
    hosts: tuple[str, ...]
    uris: tuple[str, ...]
    expires: int  # seconds since 1970
    pin: str = ""  # SHA-256 of the SubjectPublicKeyInfo, lower-case hexadecimal
    digest: str = ""  # of the whole


def read_certificate(der: bytes) -> Certificate:
    """Raises ValueError if this is no certificate."""
    try:
        return _certificate(der)
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"malformed certificate: {error}") from error


def read_pem(text: str) -> Certificate:
    """The first certificate of a PEM file: that of the server itself. Raises ValueError if there is none."""
    start = text.find(_PEM[0])
    end = text.find(_PEM[1], start)
    if start < 0 or end < 0:
        raise ValueError("no certificate in PEM form")
    return read_certificate(ssl.PEM_cert_to_DER_cert(text[start : end + len(_PEM[1])]))


def _certificate(der: bytes) -> Certificate:
    outer = list(_items(_inside(der, _SEQUENCE)))
    parts = [part for part in _items(_inside(outer[0], _SEQUENCE)) if part[0] != _VERSION]
    _serial, _algorithm, _issuer, validity, subject, key = parts[:6]
    emails: list[str] = []
    hosts: list[str] = []
    uris: list[str] = []
    for part in parts[6:]:
        if part[0] == _EXTENSIONS:
            for tag, text in _alternative_names(_inside(part, _EXTENSIONS)):
                {_EMAIL: emails, _DNS: hosts, _URI: uris}[tag].append(text)
    return Certificate(
        subject=tuple(_rdn(item) for item in _items(_inside(subject, _SEQUENCE))),
        emails=tuple(emails),
        hosts=tuple(hosts),
        uris=tuple(uris),
        expires=_time(list(_items(_inside(validity, _SEQUENCE)))[1]),
        pin=hashlib.sha256(key).hexdigest(),
        digest=hashlib.sha256(der).hexdigest(),
    )


def _header(data: bytes, at: int) -> tuple[int, int]:
    """Where the contents of the item at ``at`` begin and end."""
    length = data[at + 1]
    start = at + 2
    if length >= 0x80:
        size = length & 0x7F
        length = int.from_bytes(data[start : start + size], "big")
        start += size
    if start + length > len(data):
        raise ValueError("malformed certificate: an item is longer than what it is in")
    return start, start + length


def _items(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        _, end = _header(data, at)
        yield data[at:end]
        at = end


def _inside(item: bytes, tag: int) -> bytes:
    if item[0] != tag:
        raise ValueError(f"malformed certificate: tag {item[0]:#x}, not {tag:#x}")
    start, end = _header(item, 0)
    return item[start:end]


def _rdn(item: bytes) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for pair in _items(_inside(item, _SET)):
        kind, value = _items(_inside(pair, _SEQUENCE))
        pairs.append((_oid(_inside(kind, _OID)), read_string(value)))
    return tuple(pairs)


def read_string(item: bytes) -> str:
    """The text of a string item, whichever of ASN.1's kinds it is. Raises ValueError."""
    start, end = _header(item, 0)
    encodings = {_BMP_STRING: "utf-16-be", _UNIVERSAL_STRING: "utf-32-be", _LATIN_STRING: "latin-1"}
    return item[start:end].decode(encodings.get(item[0], "utf-8"))


def _oid(data: bytes) -> str:
    numbers: list[int] = []
    value = 0
    for byte in data:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            numbers.append(value)
            value = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))


def _time(item: bytes) -> int:
    start, end = _header(item, 0)
    text = item[start:end].decode("ascii")
    if item[0] == _UTC_TIME:  # two digits stand for the years 1950 to 2049
        text = ("19" if text[:2] >= "50" else "20") + text
    fields = [int(text[:4]), *(int(text[i : i + 2]) for i in range(4, 14, 2))]
    return calendar.timegm((*fields, 0, 0, 0))


def _alternative_names(extensions: bytes) -> Iterator[tuple[int, str]]:
    for extension in _items(_inside(extensions, _SEQUENCE)):
        parts = list(_items(_inside(extension, _SEQUENCE)))
        if _oid(_inside(parts[0], _OID)) != _SUBJECT_ALT_NAME:
            continue
        for name in _items(_inside(_inside(parts[-1], _OCTETS), _SEQUENCE)):
            if name[0] in (_EMAIL, _DNS, _URI):
                start, end = _header(name, 0)
                yield name[0], name[start:end].decode("ascii")
