"""Text as the Go runtime writes and reads it: quoting, numbers, durations, addresses.

Configuration files and error messages of nats-server are shaped by Go's standard library. Operators grep for
these messages and their files rely on these formats, so the few that matter are reproduced here exactly.

Strings may carry bytes that are not UTF-8, as the surrogate escapes of PEP 383; Go shows such a byte as
``\\xNN``.
"""

from __future__ import annotations

import re
from typing import Final

INT64_MAX: Final = (1 << 63) - 1
INT64_MIN: Final = -(1 << 63)
INT32_MAX: Final = (1 << 31) - 1

_SHORT_ESCAPES: Final = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}

_UNIT_NANOSECONDS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, micro sign
    "μs": 1_000,  # U+03BC, Greek letter mu
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3600 * 1_000_000_000,
}
_SMALL_UNITS: Final = (("ms", 1_000_000), ("µs", 1_000), ("ns", 1))
_DURATION_PART: Final = re.compile(r"([0-9]*)(?:(\.)([0-9]*))?([^0-9.]*)")
_ATOI: Final = re.compile(r"[+-]?[0-9]+")


class GoError(ValueError):
    """A text that Go's own parser would refuse; ``str()`` is Go's message."""


def raw_bytes(text: str) -> bytes:
    """The bytes a text stood for in its file."""
    return text.encode("utf-8", "surrogateescape")


def from_bytes(data: bytes) -> str:
    """The inverse of ``raw_bytes``."""
    return data.decode("utf-8", "surrogateescape")


def wrap_int(value: int, bits: int) -> int:
    """The value that a signed integer of ``bits`` bits holds after overflow."""
    half = 1 << (bits - 1)
    return (value + half) % (1 << bits) - half


def quote(text: str) -> str:
    """``%q`` of a string."""
    out = ['"']
    for char in text:
        code = ord(char)
        if char in _SHORT_ESCAPES:
            out.append(_SHORT_ESCAPES[char])
        elif 0xDC80 <= code <= 0xDCFF:
            out.append(f"\\x{code - 0xDC00:02x}")
        elif code < 0x20 or code == 0x7F:
            out.append(f"\\x{code:02x}")
        elif char.isprintable():
            out.append(char)
        elif code < 0x10000:
            out.append(f"\\u{code:04x}")
        else:
            out.append(f"\\U{code:08x}")
    out.append('"')
    return "".join(out)


def shortest_digits(value: float) -> tuple[str, str, int]:
    """``value`` as (sign, digits, exponent): ``0.digits * 10**exponent`` with as few digits as identify it."""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = whole + fraction
    point = len(whole) + int(exponent or 0)
    stripped = digits.lstrip("0")
    point -= len(digits) - len(stripped)
    stripped = stripped.rstrip("0")
    sign = "-" if repr(value).startswith("-") else ""
    return (sign, stripped, point) if stripped else (sign, "0", 1)


def plain_float(value: float) -> str:
    """``value`` with its shortest digits and no exponent."""
    sign, digits, point = shortest_digits(value)
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if point >= len(digits):
        return f"{sign}{digits}{'0' * (point - len(digits))}"
    return f"{sign}{digits[:point]}.{digits[point:]}"


def exponent_float(value: float, exponent_digits: int) -> str:
    """``value`` as ``d.ddde+XX`` with its shortest digits and at least ``exponent_digits`` exponent digits."""
    sign, digits, point = shortest_digits(value)
    mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    exponent = point - 1
    return f"{sign}{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):0{exponent_digits}d}"


def format_float(value: float) -> str:
    """``%v`` of a float64."""
    _, digits, point = shortest_digits(value)
    if digits == "0":
        return plain_float(value)
    exponent = point - 1
    return exponent_float(value, 2) if exponent < -4 or exponent >= 6 else plain_float(value)


def _duration_quote(text: str) -> str:
    """The quoting of Go's ``time`` package: every byte outside printable ASCII becomes ``\\xNN``."""
    out = ['"']
    for byte in raw_bytes(text):
        if byte >= 0x80 or byte < 0x20:
            out.append(f"\\x{byte:02x}")
        elif chr(byte) in '"\\':
            out.append("\\" + chr(byte))
        else:
            out.append(chr(byte))
    out.append('"')
    return "".join(out)


def parse_duration(text: str) -> int:
    """Nanoseconds of a Go duration string (``1h30m``, ``1.5s``, ``-2m``, ``0``). Raises ``GoError``."""
    invalid = GoError(f"time: invalid duration {_duration_quote(text)}")
    negative = text.startswith("-")
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    if not rest:
        raise invalid
    total = 0
    while rest:
        part = _DURATION_PART.match(rest)
        assert part is not None  # every group may be empty
        whole, dot, fraction, unit = part.groups()
        if not whole and not fraction:
            raise invalid
        rest = rest[part.end() :]
        if not unit:
            raise GoError(f"time: missing unit in duration {_duration_quote(text)}")
        scale = _UNIT_NANOSECONDS.get(unit)
        if scale is None:
            raise GoError(f"time: unknown unit {_duration_quote(unit)} in duration {_duration_quote(text)}")
        digits = whole.lstrip("0") or "0"
        if len(digits) > 19:  # Python refuses to convert absurdly long numbers; Go refuses them all the same
            raise invalid
        total += int(digits) * scale
        if dot and fraction:
            kept = fraction[:18]
            total += int(kept) * scale // 10 ** len(kept)
        if total > INT64_MAX + 1:
            raise invalid
    if total > INT64_MAX and not negative:
        raise invalid
    return -total if negative else total


def format_duration(seconds: float) -> str:
    """``%v`` of a ``time.Duration``: ``400ms``, ``1.5s``, ``2m0s``, ``1h0m0s``."""
    total = round(seconds * 1e9)
    sign, total = ("-", -total) if total < 0 else ("", total)
    if total < 1_000_000_000:
        if not total:
            return "0s"
        unit, scale = next((unit, scale) for unit, scale in _SMALL_UNITS if total >= scale)
        return f"{sign}{plain_float(total / scale)}{unit}"
    minutes, rest = divmod(total, 60_000_000_000)
    text = f"{plain_float(rest / 1e9)}s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{sign}{hours}h{minutes}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else sign + text


def parse_int(text: str) -> int:
    """``strconv.Atoi``: a decimal int64. Raises ``GoError``."""
    if _ATOI.fullmatch(text) is None:
        raise GoError(f"strconv.Atoi: parsing {quote(text)}: invalid syntax")
    sign = "-" if text[0] == "-" else ""
    digits = text.lstrip("+-").lstrip("0") or "0"
    value = int(sign + digits) if len(digits) <= 19 else INT64_MAX + 1
    if not INT64_MIN <= value <= INT64_MAX:
        raise GoError(f"strconv.Atoi: parsing {quote(text)}: value out of range")
    return value


def split_host_port(address: str) -> tuple[str, str]:
    """``net.SplitHostPort``: ``host:port`` or ``[host]:port`` to (host, port text). Raises ``GoError``."""

    def refuse(reason: str) -> GoError:
        return GoError(f"address {address}: {reason}")

    last = address.rfind(":")
    if last < 0:
        raise refuse("missing port in address")
    open_from, close_from = 0, 0
    if address.startswith("["):
        end = address.find("]")
        if end < 0:
            raise refuse("missing ']' in address")
        if end + 1 != last:
            colon_follows = address[end + 1 : end + 2] == ":"
            raise refuse("too many colons in address" if colon_follows else "missing port in address")
        host = address[1:end]
        open_from, close_from = 1, end + 1
    else:
        host = address[:last]
        if ":" in host:
            raise refuse("too many colons in address")
    if "[" in address[open_from:]:
        raise refuse("unexpected '[' in address")
    if "]" in address[close_from:]:
        raise refuse("unexpected ']' in address")
    return host, address[last + 1 :]
