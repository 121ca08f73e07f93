"""Values as nats-server's monitoring writes them: its JSON, its times, its durations.

Programs decode these answers with the types of nats-server, so a number must stay a number and a time must have its form.
"""

from __future__ import annotations

import re
import time
from json.encoder import encode_basestring
from typing import Any, Final

_ESCAPES: Final = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_SPECIAL: Final = re.compile("[<>&\u2028\u2029]")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def quoted(text: str) -> str:
    """A JSON string. What is not Unicode (bytes of a configuration file, say) becomes replacement characters."""
    if not text.isascii():
        text = _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
    literal = encode_basestring(text)
    return _SPECIAL.sub(lambda match: _ESCAPES[match[0]], literal) if _SPECIAL.search(literal) else literal


def number(value: float) -> str:
    """A float without a fraction looks like an integer."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def compact(value: Any) -> str:
    """JSON without white space."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{quoted(str(k))}:{compact(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(compact, value)) + "]"
    return _scalar(value)


def indented(value: Any) -> str:
    """JSON as it is served: two blanks for each level, no line end at the end."""
    out: list[str] = []
    _indented(value, "\n", out)
    return "".join(out)


def _indented(value: Any, line: str, out: list[str]) -> None:
    if not isinstance(value, (dict, list)):
        out.append(_scalar(value))
        return
    if not value:
        out.append("{}" if isinstance(value, dict) else "[]")
        return
    inner = line + "  "
    comma = inner
    if isinstance(value, dict):
        out.append("{")
        for key, member in value.items():
            out.append(f"{comma}{quoted(str(key))}: ")
            comma = "," + inner
            _indented(member, inner, out)
        out.append(line + "}")
    else:
        out.append("[")
        for member in value:
            out.append(comma)
            comma = "," + inner
            _indented(member, inner, out)
        out.append(line + "]")


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    return number(value) if isinstance(value, float) else str(value)


def time_text(ns: int) -> str:
    """Nanoseconds since 1970 in RFC 3339, UTC, without trailing zeros."""
    seconds, fraction = divmod(ns, 1_000_000_000)
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + digits + "Z"


def uptime_text(ns: int) -> str:
    """``3d2h1m5s``: all units below the largest are there."""
    seconds = max(ns, 0) // 1_000_000_000
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    years, days = divmod(days, 365)
    if years:
        return f"{years}y{days}d{hours}h{minutes}m{seconds}s"
    if days:
        return f"{days}d{hours}h{minutes}m{seconds}s"
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
