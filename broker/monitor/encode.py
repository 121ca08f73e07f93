"""Values as nats-server's monitoring writes them: its JSON, its times, its durations.

Programs decode these answers with the types of nats-server, so a number must stay a number and a time must have its form.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from typing import Any, Final

from broker.monitor.pace import each

_ESCAPES: Final = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_SPECIAL: Final = re.compile("[<>&\u2028\u2029]")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_COMPACT: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def compact(value: Any) -> str:
    """JSON without white space."""
    return _escaped(_COMPACT(_plain_numbers(value)))


def compact_exact(value: Any) -> str:
    """The same of a value that holds no float, for those that come by the thousand."""
    return _escaped(_COMPACT(value))


def indented(value: Any) -> str:
    """JSON as it is served: two blanks for each level, no line end at the end."""
    return _escaped("".join(_pieces(value, "\n")))


async def indented_slowly(value: Any) -> str:
    """The same for a long answer; others have their turn in between."""
    return "".join(await each(_pieces(value, "\n"), _escaped))


async def compact_slowly(value: Any) -> str:
    """JSON without white space of what may be long; others have their turn in between."""
    return "".join(await each(_compact_pieces(value), _escaped))


def _compact_pieces(value: Any) -> Iterator[str]:
    """Lists are taken apart, down to the members of members that are lists of objects themselves."""
    if isinstance(value, dict) and any(isinstance(member, (dict, list)) for member in value.values()):
        comma = "{"
        for key, member in value.items():
            yield f"{comma}{_COMPACT(key)}:"
            comma = ","
            yield from _compact_pieces(member)
        yield "}"
    elif isinstance(value, list) and any(isinstance(member, (dict, list)) for member in value):
        comma = "["
        for member in value:
            yield comma
            comma = ","
            yield from _compact_pieces(member)
        yield "]"
    else:
        yield _COMPACT(_plain_numbers(value))


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


@cache
def _members(separator: str) -> Callable[[Any], str]:
    return json.JSONEncoder(ensure_ascii=False, separators=(separator, ": ")).encode


def _pieces(value: Any, line: str) -> Iterator[str]:
    """Containers without containers inside, which are nearly all of a long answer, are left to the library at once."""
    if not isinstance(value, (dict, list)) or not value:
        yield _COMPACT(_plain_numbers(value))
        return
    inner = line + "  "
    brackets = "{}" if isinstance(value, dict) else "[]"
    members = value.values() if isinstance(value, dict) else value
    if not any(isinstance(member, (dict, list, float)) for member in members):
        text = _members("," + inner)(value)
        yield f"{brackets[0]}{inner}{text[1:-1]}{line}{brackets[1]}"
        return
    yield brackets[0]
    comma = inner
    for key, member in value.items() if isinstance(value, dict) else enumerate(value):
        yield f"{comma}{_COMPACT(key)}: " if isinstance(value, dict) else comma
        comma = "," + inner
        yield from _pieces(member, inner)
    yield line + brackets[1]


@lru_cache(2048)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def time_text(ns: int) -> str:
    """Nanoseconds since 1970 in RFC 3339, UTC, without trailing zeros."""
    seconds, fraction = divmod(ns, 1_000_000_000)
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{_second(seconds)}{digits}Z"


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
