"""Traces of messages: what became of one that asked for it, as one event (upstream: server/msgtrace.go, ADR-41).

This runs in the workers. The one that has the publisher makes the event, of what its own data plane and those of its peers have
recorded, and publishes it in the publisher's account. A message that is not traced is never seen here.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

from broker.core import Core, Event, ffi
from broker.log import Log, guarded
from broker.monitor.encode import compact_exact, time_text
from broker.options import Options
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


class Traces:
    """Publishes the traces of one worker."""

    __slots__ = ("_core", "_info", "_log")

    def __init__(self, core: Core, info: ServerInfo, log: Log) -> None:
        self._core = core
        self._info = info
        self._log = log

    def use(self, options: Options) -> None:
        """Other options from now on."""
        self._info.use(options)

    def report(self, event: Event) -> None:
        """A message was traced. Never raises."""
        told = event.message
        if told is None or not event.data or not self._core.interested(event.reason, told.subject):
            return
        with guarded(self._log, "making a message trace"):
            self._core.publish(event.reason, told.subject, self._event(told.headers, event.data))

    def _event(self, headers: bytes, data: bytes) -> bytes:
        told = list(_steps(data))
        request = []
        if found := header_map(headers):
            request.append(f'"header":{compact_exact(found)}')
        if total := told[0].total:
            request.append(f'"msgsize":{total}')
        steps = ",".join(Steps(told).texts())
        return (
            f'{{"server":{self._info.text()},"request":{{{",".join(request)}}},"events":[{steps}]}}'.encode()
        )


class _Step(NamedTuple):
    type: int
    error: int
    at_ns: int  # since 1970
    cid: int
    total: int  # bytes
    account: bytes
    subject: bytes
    other: bytes
    about: bytes


def _steps(data: bytes) -> Iterator[_Step]:
    at = 0
    while at < len(data):
        size, kind, error, account, subject, other, about, _, at_ns, cid, total = _HEAD.unpack_from(data, at)
        subject_at = at + _HEAD.size + account
        other_at = subject_at + subject
        about_at = other_at + other
        yield _Step(
            kind,
            error,
            at_ns,
            cid,
            total,
            data[subject_at - account : subject_at],
            data[subject_at:other_at],
            data[other_at:about_at],
            data[about_at : about_at + about],
        )
        at += size


class Steps:
    """The steps of one message as JSON. A message may have thousands of subscribers, of whom much is the same."""

    __slots__ = ("_clients", "_error", "_home", "_quoted", "_steps")

    def __init__(self, steps: list[_Step]) -> None:
        self._steps = steps
        self._home = steps[0].account
        self._error = next((step.other for step in steps if step.type == StepType.ERROR), b"")
        self._quoted: dict[bytes, str] = {}
        self._clients: dict[bytes, str] = {}

    def texts(self) -> Iterator[str]:
        """One after the other."""
        for step in self._steps:
            if step.type != StepType.ERROR:
                kind, fields = self._fields(step)
                yield f'{{"type":"{kind}","ts":"{time_text(step.at_ns)}",{fields}}}'

    def _fields(self, step: _Step) -> tuple[str, str]:
        text = self._text
        match step.type:
            case StepType.IN:
                failed = f',"error":{text(self._error)}' if self._error else ""
                place = f'"acc":{text(step.account)},"subj":{text(step.subject)}'
                return "in", f"{self._client(step)},{place}{failed}"
            case StepType.MAPPED:
                return "sm", f'"to":{text(step.other)}'
            case StepType.EXPORT:
                return "se", f'"acc":{text(step.account)},"to":{text(step.other)}'
            case StepType.IMPORT:
                return (
                    "si",
                    f'"acc":{text(step.account)},"from":{text(step.subject)},"to":{text(step.other)}',
                )
        fields = self._client(step)
        if step.account != self._home:
            fields += f',"acc":{text(step.account)}'
        if step.subject:
            fields += f',"sub":{text(step.subject)}'
        if step.other:
            fields += f',"queue":{text(step.other)}'
        if step.error:
            fields += f',"error":"{_ERRORS[step.error]}"'
        return "eg", fields

    def _client(self, step: _Step) -> str:
        name = self._clients.get(step.about)
        if name is None:
            known = json.loads(step.about).get("name") if step.about else None
            name = self._clients[step.about] = f',"name":{compact_exact(known)}' if known else ""
        return f'"kind":{_CLIENT},"cid":{step.cid}{name}'

    def _text(self, raw: bytes) -> str:
        text = self._quoted.get(raw)
        if text is None:
            text = self._quoted[raw] = compact_exact(_text(raw))
        return text


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


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
