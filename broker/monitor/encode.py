"""Values as nats-server's monitoring writes them: its JSON, its times, its durations.

Programs decode these answers with the types of nats-server, so a number must stay a number and a time must have its form.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

from broker.monitor.pace import each

_ESCAPES: Final = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_SPECIAL: Final = re.compile("[<>&\u2028\u2029]")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_COMPACT: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_STRING: Final = json.encoder.encode_basestring
_FEW: Final = 64  # members of a value that is made into text at once
_MANY: Final = 1024  # plain members of a list that are


def compact(value: Any) -> str:
    """JSON without white space."""
    return _escaped(_COMPACT(_plain_numbers(value)))


def compact_exact(value: Any) -> str:
    """The same of a value that holds no float, for those that come by the thousand."""
    return _escaped(_COMPACT(value))


def indented(value: Any) -> str:
    """JSON as it is served: two blanks for each level, no line end at the end."""
    return _escaped(_text(value, "\n", _INDENTED))


async def indented_slowly(value: Any) -> str:
    """The same for a long answer; others have their turn in between."""
    return "".join(await each(_pieces(value, "\n", _INDENTED), _escaped))


async def compact_slowly(value: Any) -> str:
    """JSON without white space of what may be long; others have their turn in between."""
    return "".join(await each(_pieces(value, "", _DENSE), _escaped))


def _escaped(text: str) -> str:
    """What can only be inside a string, as Go writes it. What is not Unicode (a file's bytes) becomes replacement characters."""
    if not text.isascii():
        text = _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
    return _SPECIAL.sub(lambda match: _ESCAPES[match[0]], text) if _SPECIAL.search(text) else text


def _plain_numbers(value: Any) -> Any:
    """A float without a fraction is shown like an integer."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    if isinstance(value, dict):
        return {key: _plain_numbers(member) for key, member in value.items()}
    return [_plain_numbers(member) for member in value] if isinstance(value, list) else value


@dataclass(slots=True, frozen=True)
class _Form:
    """``step``: what is added to the white space before a line for each level."""

    step: str
    colon: str


_INDENTED: Final = _Form("  ", ": ")
_DENSE: Final = _Form("", ":")


def _text(value: Any, line: str, form: _Form) -> str:
    """A value as text. ``line``: a new line, as far as where the value's own begins."""
    kind = value.__class__
    if kind is int:
        return repr(value)
    if kind is str:
        return _STRING(value)
    if kind not in (dict, list) or not value:
        return _COMPACT(_plain_numbers(value))
    inner = line + form.step
    if kind is list:
        members = [_text(member, inner, form) for member in value]
        return f"[{inner}{f',{inner}'.join(members)}{line}]"
    colon = form.colon
    members = [f"{_STRING(key)}{colon}{_text(member, inner, form)}" for key, member in value.items()]
    return f"{{{inner}{f',{inner}'.join(members)}{line}}}"


def _is_small(value: Any) -> bool:
    """Has it only a few members, with those of its members?"""
    seen = 0
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            one = one.values()
        elif not isinstance(one, list):
            continue
        seen += len(one)
        if seen > _FEW:
            return False
        waiting += one
    return True


def _pieces(value: Any, line: str, form: _Form) -> Iterator[str]:
    """The same, piece by piece: what is large is taken apart."""
    if not isinstance(value, (dict, list)) or _is_small(value):
        yield _text(value, line, form)
        return
    inner = line + form.step
    comma = inner
    if isinstance(value, dict):
        yield "{"
        for key, member in value.items():
            yield f"{comma}{_STRING(key)}{form.colon}"
            comma = "," + inner
            yield from _pieces(member, inner, form)
        yield line + "}"
        return
    yield "["
    if any(isinstance(member, (dict, list, float)) for member in value):
        for member in value:
            yield comma
            comma = "," + inner
            yield from _pieces(member, inner, form)
    else:
        for at in range(0, len(value), _MANY):
            yield comma
            comma = "," + inner
            yield _plain_members(comma)(value[at : at + _MANY])[1:-1]
    yield line + "]"


@cache
def _plain_members(separator: str) -> Callable[[Any], str]:
    return json.JSONEncoder(ensure_ascii=False, separators=(separator, ": ")).encode


@lru_cache(2048)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def time_text(ns: int) -> str:
    """Nanoseconds since 1970 in RFC 3339, UTC, without trailing zeros."""
    seconds, fraction = divmod(ns, 1_000_000_000)
    if not fraction:
        return _second(seconds) + "Z"
    return f"{_second(seconds)}.{fraction:09d}".rstrip("0") + "Z"


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
