"""Service latency: what the data plane measured, as the message that the exporting account gets (upstream: ``ServiceLatency``).

This runs in the workers: each measures the requests of its own clients. The data plane decides which ones, takes the times and
knows who was there; a request that is not measured is never seen here.
"""

from __future__ import annotations

import re
import struct
import time
from typing import Final

from broker.core import Core, Event, ffi
from broker.log import Log, guarded
from broker.monitor.encode import compact, time_text
from broker.system.ids import EventIds

TYPE: Final = "io.nats.server.metric.v1.service_latency"
DESCRIPTIONS: Final = {
    400: "Bad Request",
    408: "Request Timeout",
    503: "Service Unavailable",
    504: "Service Timeout",
}
_HEAD: Final = struct.Struct("=q3Q6I")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTINUATION: Final = re.compile(rb"[ \t]*\r?\n[ \t]+")
_UBER_CONTEXT: Final = "Uberctx-"

if _HEAD.size != ffi.sizeof("struct spl_latency"):
    raise ImportError("struct spl_latency has another form than is known here")


class Latency:
    """Publishes the measurements of one worker."""

    __slots__ = ("_core", "_ids", "_log")

    def __init__(self, core: Core, log: Log) -> None:
        self._core = core
        self._log = log
        self._ids = EventIds()

    def report(self, event: Event) -> None:
        """A request was measured. Never raises."""
        if not event.data:
            return  # there was no memory for it
        with guarded(self._log, "making a service latency"):
            subject, payload = message(event.data, self._ids.new(), time.time_ns())
            self._core.publish(event.reason, subject, payload)


def message(data: bytes, event_id: str, now_ns: int) -> tuple[bytes, bytes]:
    """(subject, JSON) of a measurement, which is a ``struct spl_latency`` with its texts."""
    start_ns, service, system, total, status, *sizes, _ = _HEAD.unpack_from(data)
    texts: list[bytes] = []
    at = _HEAD.size
    for size in sizes:
        texts.append(data[at : at + size])
        at += size
    subject, requestor, responder, headers = texts
    fields = [f'"type":"{TYPE}","id":"{event_id}","timestamp":"{time_text(now_ns)}","status":{status}']
    if status in DESCRIPTIONS:
        fields.append(f'"description":"{DESCRIPTIONS[status]}"')
    fields += [
        f'"{name}":{client.decode(errors="replace")}'
        for name, client in (("requestor", requestor), ("responder", responder))
        if client
    ]
    if headers:
        fields.append(f'"header":{compact(_read_headers(headers))}')
    fields.append(f'"start":"{time_text(start_ns)}","service":{service},"system":{system},"total":{total}')
    return subject, f"{{{','.join(fields)}}}".encode()


def _read_headers(lines: bytes) -> dict[str, list[str]]:
    """The headers that asked for the measurement, by their canonical names and in the order of these."""
    found: dict[str, list[str]] = {}
    for line in _CONTINUATION.sub(b" ", lines).split(b"\n"):
        key, colon, value = line.partition(b":")
        name = _canonical(key.decode(errors="replace"))
        if colon and (name.startswith(_UBER_CONTEXT) or not name.lower().startswith(_UBER_CONTEXT.lower())):
            found.setdefault(name, []).append(value.strip(b" \t\r").decode(errors="replace"))
    return dict(sorted(found.items()))


def _canonical(name: str) -> str:
    """As Go writes the names of headers: the first letter of each word is large, unless there is something strange in it."""
    if not _TOKEN.fullmatch(name):
        return name
    return "-".join(word[:1].upper() + word[1:].lower() for word in name.split("-"))
