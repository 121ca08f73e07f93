"""The endpoints of monitoring as requests of the system account: what their bodies may hold, and what answers them.

They are served by the same code as over HTTP. A body may name the servers that are meant and the endpoint's own options; what
nats-server calls these two when it complains is part of the table.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from broker.monitor import asked
from broker.monitor.accounts import accountz
from broker.monitor.connz import connz
from broker.monitor.healthz import healthz
from broker.monitor.links import gatewayz, jsz, leafz, routez
from broker.monitor.state import Server
from broker.monitor.subsz import subsz
from broker.monitor.varz import varz
from broker.options.gotext import format_duration, quote
from broker.system.filters import EventFilterOptions
from broker.system.gojson import Shape, decode, shape_of

_CREDENTIALS: Final = re.compile(r"//[^/@]*@")
_MOST_PROFILE: Final = 15.0  # seconds
# What on a command line is a secret: the value of these flags, and what an address holds before its host.
_SECRETS: Final = frozenset(("pass", "auth"))
_REDACTED: Final = "[REDACTED]"


class Silence(Exception):
    """There are reasons to say nothing."""


@dataclass(slots=True, frozen=True)
class NoOptions:
    """An endpoint that takes none."""


@dataclass(slots=True, frozen=True)
class ProfilezOptions:
    """A profile of a Go program."""

    name: str = ""
    debug: int = 0
    duration: int = field(default=0, metadata={"kind": "time.Duration"})


@dataclass(slots=True, frozen=True)
class IpqueueszOptions:
    """Queues inside the server."""

    all: bool = False
    filter: str = ""


@dataclass(slots=True, frozen=True)
class RaftzOptions:
    """Groups of JetStream."""

    account: str = ""
    group: str = ""


@dataclass(slots=True, frozen=True)
class Context:
    """What answers are made of. ``queues``: how many requests wait and are being answered, by the queue's name."""

    server: Server
    queues: Callable[[], dict[str, tuple[int, int]]]


class Body:
    """How the bodies of one kind of request are read. ``go_name`` is the type they have in nats-server."""

    __slots__ = ("_options", "_shapes", "_type")

    def __init__(self, go_name: str, options: type = NoOptions, inner: str = "") -> None:
        owner = "EventFilterOptions"
        if go_name != owner:
            owner = f"{go_name}.{owner}"
        self._type = f"server.{go_name}"
        self._options = options
        self._shapes: dict[type, Shape] = {EventFilterOptions: shape_of(owner, EventFilterOptions)}
        self._shapes[options] = shape_of(f"{go_name}.{inner or options.__name__}", options)

    def read(self, body: bytes) -> tuple[EventFilterOptions, Any]:
        """(who is meant, the options). Raises JsonError."""
        if not body:
            return EventFilterOptions(), self._options()
        found = decode(body, self._type, self._shapes)
        return found[EventFilterOptions], found[self._options]


Answer = Callable[[Context, Any], Awaitable[Any]]


@dataclass(slots=True, frozen=True)
class Zed:
    """One endpoint. ``answer`` raises QueryError for what it cannot serve, Silence for what it has no word for."""

    body: Body
    answer: Answer


def _zed(go_name: str, options: type, answer: Callable[[Server, Any], Awaitable[Any]]) -> Zed:
    return Zed(
        Body(f"{go_name}EventOptions", options), lambda context, wanted: answer(context.server, wanted)
    )


async def _healthz(server: Server, options: asked.HealthzOptions) -> dict[str, Any]:
    status, fields = healthz(server, options)
    return {"status": fields.pop("status"), "status_code": status, **fields}


async def _jsz(server: Server, options: asked.JSzOptions) -> dict[str, Any]:
    if options.leader_only:
        raise Silence  # there is no leader
    return await jsz(server, options)


async def _expvarz(server: Server, options: NoOptions) -> dict[str, Any]:
    """The variables of a Go program. We have none of its runtime's, but for the memory that the system has given us."""
    try:
        words = Path(f"/proc/{server.pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        words = []
    return {"memstats": {"Sys": server.memory()}, "cmdline": _without_secrets(words)}


def _without_secrets(words: list[str]) -> list[str]:
    shown: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        flag, equals, _ = word.partition("=")
        if before.startswith("-") and before.lstrip("-") in _SECRETS:
            word = _REDACTED
        elif equals and flag.startswith("-") and flag.lstrip("-") in _SECRETS:
            word = f"{flag}={_REDACTED}"
        shown.append(_CREDENTIALS.sub(f"//{_REDACTED}@", word))
    return shown


async def _profilez(server: Server, options: ProfilezOptions) -> dict[str, Any]:
    """A program that is not Go's has no such profiles."""
    seconds = options.duration / 1e9
    if not options.name:
        error = "Profile name not specified"
    elif options.name == "cpu" and not 0 < seconds <= _MOST_PROFILE:
        error = f"Duration {format_duration(seconds)} should be between 0s and 15s"
    else:
        error = f"Profile {quote(options.name)} not found"
    return {"profile": None, "error": error}


async def _ipqueuesz(context: Context, options: IpqueueszOptions) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, (pending, busy) in context.queues().items():
        if options.filter in name and (options.all or pending or busy):
            shown[name] = {"pending": pending, **({"in_progress": busy} if busy else {})}
    return shown


async def _raftz(server: Server, options: RaftzOptions) -> dict[str, Any]:
    return {}


ENDPOINTS: Final[Mapping[str, Zed]] = {
    "VARZ": _zed("Varz", asked.VarzOptions, varz),
    "SUBSZ": _zed("Subsz", asked.SubszOptions, subsz),
    "CONNZ": _zed("Connz", asked.ConnzOptions, connz),
    "ROUTEZ": _zed("Routez", asked.RoutezOptions, routez),
    "GATEWAYZ": _zed("Gatewayz", asked.GatewayzOptions, gatewayz),
    "LEAFZ": _zed("Leafz", asked.LeafzOptions, leafz),
    "ACCOUNTZ": _zed("Accountz", asked.AccountzOptions, accountz),
    "JSZ": _zed("Jsz", asked.JSzOptions, _jsz),
    "HEALTHZ": _zed("Healthz", asked.HealthzOptions, _healthz),
    "PROFILEZ": _zed("Profilez", ProfilezOptions, _profilez),
    "EXPVARZ": _zed("Expvarz", NoOptions, _expvarz),
    "IPQUEUESZ": Zed(Body("IpqueueszEventOptions", IpqueueszOptions), _ipqueuesz),
    "RAFTZ": _zed("Raftz", RaftzOptions, _raftz),
}
