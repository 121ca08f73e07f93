"""Listens in the system account, and knows the forms of what is told there."""

from __future__ import annotations

import fnmatch
import json
from dataclasses import dataclass
from typing import Any, Final

from tests.harness import Raw, Server

SYSTEM: Final = """
accounts {
  SYS { users: [{user: sys, password: s}] }
  APP { users: [{user: app, password: a}] }
  SMALL { users: [{user: small, password: m}], limits: {max_connections: 1} }
}
system_account: SYS
server_name: s1
server_tags: ["az:1"]
authorization { timeout: 2 }
"""
SYS: Final = {"user": "sys", "pass": "s"}
APP: Final = {"user": "app", "pass": "a"}
ZERO: Final = {"msgs": 0, "bytes": 0}
NOTHING: Final = {**ZERO, "gateways": ZERO, "routes": ZERO, "leafs": ZERO}


@dataclass(slots=True, frozen=True)
class Heard:
    """One message."""

    subject: str
    body: Any


class Listener:
    """A client that has subscribed to ``subject``."""

    def __init__(self, server: Server, subject: str = "$SYS.>", timeout: float = 15.0, **user: Any) -> None:
        self.raw = Raw(server.port, timeout=timeout)
        self.raw.hello(**(user or SYS), name="listener")
        self._say(f"SUB {subject} 1\r\nPING\r\n".encode(), b"PONG\r\n")
        if server.kind.real and not user:
            self._settle()

    def _settle(self) -> None:
        """nats-server sends its messages when it gets round to it: wait for an answer, and so for all that comes before."""
        self._say(b"SUB settled 2\r\nPUB $SYS.REQ.SERVER.PING.IDZ settled 0\r\n\r\n", b"MSG settled 2 ")
        self._say(b"UNSUB 2\r\nPING\r\n", b"PONG\r\n")

    def _say(self, lines: bytes, answer: bytes) -> None:
        """Drops all that comes before and with the line that begins like ``answer``."""
        self.raw.send(lines)
        line = b""
        while not line.startswith(answer):
            line = self.raw.read_until(b"\r\n")
            if line.startswith(b"MSG "):
                self.raw.take(int(line.split()[-1]) + 2)

    def next(self, *patterns: str) -> Heard:
        """The next message with a subject of one of these forms; others are dropped."""
        while True:
            line = self.raw.read_until(b"\r\n").decode()
            if not line.startswith("MSG "):
                continue
            subject, size = line.split()[1], int(line.split()[-1])
            body = self.raw.take(size + 2)
            if not patterns or any(fnmatch.fnmatchcase(subject, pattern) for pattern in patterns):
                return Heard(subject, json.loads(body) if size else None)

    def upto(self, pattern: str, *ignored: str) -> list[Heard]:
        """All up to the first with a subject of this form, but for those to be ignored."""
        found: list[Heard] = []
        while not found or not fnmatch.fnmatchcase(found[-1].subject, pattern):
            heard = self.next()
            if not any(fnmatch.fnmatchcase(heard.subject, each) for each in ignored):
                found.append(heard)
        return found

    def leave(self) -> None:
        """Close in order."""
        self.raw.leave()
