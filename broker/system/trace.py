"""Traces of messages: what became of one that asked for it, as one event (upstream: server/msgtrace.go, ADR-41).

This runs in the workers. The one that has the publisher makes the event, of what its own data plane and those of its peers have
recorded, and publishes it in the publisher's account. A message that is not traced is never seen here.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from broker.core import Core, Event, ffi
from broker.log import Log, guarded
from broker.monitor.encode import compact, time_text
from broker.system.info import ServerInfo

_FIRST_LINE: Final = b"NATS/1.0\r\n"
_CLIENT: Final = 0  # kind of a connection
_HEAD: Final = struct.Struct("=8IqQQ")
# By ``enum spl_step_error``.
_ERRORS: Final = (
    "",
    "Not delivered because of no echo",
    "Not delivered because subscription denies this subject",
    "Not delivered because client is closed",
    "Not delivered because fast producer not stalled and consumer is slow",
)

if _HEAD.size != ffi.sizeof("struct spl_step"):
    raise ImportError("struct spl_step has another form than is known here")


class StepType(IntEnum):
    """What may become of a traced message."""

    IN = 1
    ERROR = 2
    MAPPED = 3
    EXPORT = 4
    IMPORT = 5
    OUT = 6


@dataclass(slots=True, frozen=True)
class Step:
    """One step; which fields mean what is written in ``csrc/spline.h``."""

    type: int
    error: int
    at_ns: int  # since 1970
    cid: int
    total: int  # bytes
    account: bytes
    subject: bytes
    other: bytes
    about: bytes


class Traces:
    """Publishes the traces of one worker."""

    __slots__ = ("_core", "_info", "_log")

    def __init__(self, core: Core, info: ServerInfo, log: Log) -> None:
        self._core = core
        self._info = info
        self._log = log

    def report(self, event: Event) -> None:
        """A message was traced. Never raises."""
        told = event.message
        if told is None or not event.data or not self._core.interested(event.reason, told.subject):
            return
        with guarded(self._log, "making a message trace"):
            body = trace_event(self._info.block(), told.headers, list(steps(event.data)))
            self._core.publish(event.reason, told.subject, compact(body).encode())


def steps(data: bytes) -> Iterator[Step]:
    """What became of a traced message, in order."""
    at = 0
    while at < len(data):
        size, kind, error, *lengths, _, at_ns, cid, total = _HEAD.unpack_from(data, at)
        texts: list[bytes] = []
        end = at + _HEAD.size
        for length in lengths:
            texts.append(data[end : end + length])
            end += length
        account, subject, other, about = texts
        yield Step(kind, error, at_ns, cid, total, account, subject, other, about)
        at += size


def trace_event(server: dict[str, Any], headers: bytes, told: list[Step]) -> dict[str, Any]:
    """The event of one message."""
    ingress = told[0]
    request: dict[str, Any] = {}
    if found := header_map(headers):
        request["header"] = found
    if ingress.total:
        request["msgsize"] = ingress.total
    failure = next((_text(step.other) for step in told if step.type == StepType.ERROR), "")
    shown = [_shown(step, ingress, failure) for step in told if step.type != StepType.ERROR]
    return {"server": server, "request": request, "events": shown}


def header_map(headers: bytes) -> dict[str, list[str]]:
    """Values by name, names in order and as they are spelt; without empty ones, and up to the first line that is none."""
    found: dict[bytes, list[str]] = {}
    for name, value in _pairs(headers):
        found.setdefault(name, []).append(_text(value))
    return {_text(name): found[name] for name in sorted(found)}


def _pairs(headers: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not headers.startswith(_FIRST_LINE):
        return
    at = len(_FIRST_LINE)
    while (colon := headers.find(b":", at)) >= 0:
        end = headers.find(b"\r\n", colon + 1)
        if end < 0:
            return
        name, value = headers[at:colon], headers[colon + 1 : end].strip(b" \t")
        if name and value:
            yield name, value
        at = end + 2


def _shown(step: Step, ingress: Step, failure: str) -> dict[str, Any]:
    time = time_text(step.at_ns)
    account, subject, other = _text(step.account), _text(step.subject), _text(step.other)
    match step.type:
        case StepType.IN:
            fields = {"type": "in", "ts": time, **_client(step), "acc": account, "subj": subject}
            return {**fields, "error": failure} if failure else fields
        case StepType.MAPPED:
            return {"type": "sm", "ts": time, "to": other}
        case StepType.EXPORT:
            return {"type": "se", "ts": time, "acc": account, "to": other}
        case StepType.IMPORT:
            return {"type": "si", "ts": time, "acc": account, "from": subject, "to": other}
    elsewhere = account if step.account != ingress.account else ""
    named = {"acc": elsewhere, "sub": subject, "queue": other, "error": _ERRORS[step.error]}
    return {
        "type": "eg",
        "ts": time,
        **_client(step),
        **{key: value for key, value in named.items() if value},
    }


def _client(step: Step) -> dict[str, Any]:
    name = json.loads(step.about).get("name") if step.about else None
    return {"kind": _CLIENT, "cid": step.cid, **({"name": name} if name else {})}


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
