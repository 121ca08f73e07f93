"""Lets clients come and go, and hears what the system account is told of it, in a form that can be compared."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.harness import Kind, Raw, Server, start
from tests.server.listener import Heard, Listener

PATIENCE: Final = 20.0  # seconds
LATE: Final = 2.0
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z")
_ID: Final = re.compile(r"[0-9A-Za-z]{22}")
_FLOOD: Final = 1000  # messages: how many of them arrive is chance
_HEADER: Final = 50  # bytes of a message that holds a round trip time, which may have more digits or fewer
_IGNORED: Final = ("$SYS.SERVER.*.STATSZ", "*ACCOUNT.SYS.*", "$SYS.REQ.*", "i")


class Stage:
    """One scene on one server, with its clients. All of them have left when it is over."""

    def __init__(self, server: Server, listener: Listener) -> None:
        self.server = server
        self._listener = listener
        self._heard: list[Heard] = []
        self._clients: list[Raw] = []

    def dial(self) -> Raw:
        """A client that has said nothing yet."""
        client = Raw(self.server.port, timeout=20.0)
        self._clients.append(client)
        return client

    def hello(self, user: str = "app", **options: object) -> Raw:
        """A client that has come in (whose password is its name), and whom we have been told of."""
        return self.come(self.dial().hello(**{"user": user, "pass": user, **options}))

    def come(self, client: Raw) -> Raw:
        """Wait until we have been told of it."""
        self._wait(client, "CONNECT")
        return client

    def leave(self, client: Raw) -> None:
        """It leaves, and we are told."""
        client.leave()
        self._wait(client, "DISCONNECT")

    def gone(self, client: Raw) -> None:
        """It has been closed, and we are told."""
        client.read_eof()
        self._wait(client, "DISCONNECT")

    def refused(self, **options: object) -> None:
        """Somebody is not let in."""
        self.dial().send_connect(verbose=False, **options).read_eof()

    def events(self) -> Counter[tuple[str, str]]:
        """All that was told, once all clients have left: subjects and bodies, without what is different each time."""
        left = {client.info["client_id"] for client in self._clients}
        while left - self._told("DISCONNECT") or any(self._counts().values()):
            self._next()
        numbers = {client.info["client_id"]: index for index, client in enumerate(self._clients)}
        return Counter(plain(heard, numbers) for heard in self._heard)

    def _wait(self, client: Raw, what: str) -> None:
        """Until this event, and the two that tell how many its account has."""
        before = len(self._heard)
        while client.info["client_id"] not in self._told(what):
            self._next()
        while sum(heard.subject.endswith("CONNS") for heard in self._heard[before:]) < 2:
            self._next()

    def _told(self, what: str) -> set[int]:
        return {
            heard.body["client"]["id"] for heard in self._heard if heard.subject.rpartition(".")[2] == what
        }

    def _counts(self) -> dict[str, int]:
        """The last number of connections that was told of each account, on each of the two subjects."""
        return {heard.subject: heard.body["conns"] for heard in self._heard if "conns" in heard.body}

    def more(self) -> bool:
        """Wait for what may be late; False: nothing came."""
        before = len(self._heard)
        self._listener.raw.sock.settimeout(LATE)
        with contextlib.suppress(TimeoutError):
            while len(self._heard) == before:
                self._next()
        self._listener.raw.sock.settimeout(PATIENCE)
        return len(self._heard) > before

    def _next(self) -> None:
        heard = self._listener.next()
        if not any(fnmatch.fnmatchcase(heard.subject, pattern) for pattern in _IGNORED):
            self._heard.append(heard)


Scene = Callable[[Stage], None]
Watched = tuple[Server, Listener]


def watched(kind: Kind, config: str) -> Iterator[Watched]:
    """A server, and somebody who listens to all of it."""
    server = start(kind, config)
    try:
        listener = Listener(server, timeout=PATIENCE, user="sys", **{"pass": "sys"})
        yield server, listener
        listener.leave()
        server.stop()
    finally:
        server.destroy()


def compare(play: Scene, theirs: Watched, *ours: Watched) -> None:
    """Assert that a scene has the same events on all of these servers."""
    wanted = Stage(*theirs)
    play(wanted)
    expected = wanted.events()
    for one in ours:
        stage = Stage(*one)
        play(stage)
        found = stage.events()
        while found - expected and wanted.more():  # some come after the last client has left
            expected = wanted.events()
        while expected - found and stage.more():
            found = stage.events()
        surplus, missing = _difference(found, expected), _difference(expected, found)
        assert not surplus and not missing, f"{one[0].kind.name}: we say {surplus}, nats-server {missing}"


def _difference(some: Counter[tuple[str, str]], others: Counter[tuple[str, str]]) -> list[Any]:
    return [(subject, json.loads(body)) for subject, body in sorted((some - others).elements())]


def plain(heard: Heard, numbers: dict[int, int]) -> tuple[str, str]:
    """(subject, body), without what is different each time but has the right form. The order of members counts."""
    server = heard.body.get("server", heard.body)["id"]
    return heard.subject.replace(server, "ID"), json.dumps(_plain(heard.body, (), numbers))


def _plain(value: Any, path: tuple[str, ...], numbers: dict[int, int]) -> Any:
    if isinstance(value, dict):
        return {key: _plain(member, (*path, key), numbers) for key, member in value.items()}
    replaced = _REPLACED.get(path[-1])
    if path == ("client", "id"):
        return f"client {numbers.get(value, 'of nobody')}"
    if path == ("server", "id"):
        return "ID"
    if path == ("id",) and _ID.fullmatch(value):
        return "event"
    return path[-1] if replaced is not None and replaced(value) else value


_REPLACED: Final[dict[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("timestamp", "time", "start", "stop"), lambda text: bool(_TIME.fullmatch(text))),
    "rtt": lambda ns: 0 < ns < 60_000_000_000,
    "seq": lambda number: number > 0,
    "num_subscriptions": lambda number: number >= 0,  # nats-server counts its own
    "msgs": lambda number: number > _FLOOD,
    "bytes": lambda number: number > _HEADER,
    "slow_consumers": lambda number: number > 0,  # nats-server may count one twice
}
