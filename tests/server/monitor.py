"""Asks a server's monitoring port, and knows the forms of what it answers."""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection, HTTPSConnection
from typing import Any, Final

from tests.harness import Server

MONITOR: Final = "http_port: -1"
_PORT: Final = re.compile(r"Starting https? monitor on \S*?:(\d+)")
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")
UPTIME: Final = re.compile(r"(?:(?:(?:(?:\d+y)?\d+d)?\d+h)?\d+m)?\d+s")
DURATION: Final = re.compile(r"0s|(?:\d+h)?(?:\d+m)?\d+(?:\.\d+)?(?:ns|µs|ms|s)")


@dataclass(slots=True, frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The body's value."""
        return json.loads(self.body)


class Monitor:
    """The monitoring of one server."""

    def __init__(self, server: Server, tls: ssl.SSLContext | None = None) -> None:
        self.port = int(server.log.wait_for(_PORT)[1])
        self._tls = tls

    def get(self, path: str, method: str = "GET", body: bytes | None = None) -> Answer:
        """The answer to a request of its own connection."""
        connection = (
            HTTPSConnection("127.0.0.1", self.port, timeout=30, context=self._tls)
            if self._tls is not None
            else HTTPConnection("127.0.0.1", self.port, timeout=30)
        )
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return Answer(
                answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
            )
        finally:
            connection.close()

    def json(self, path: str) -> Any:
        """The value of a good answer."""
        answer = self.get(path)
        assert answer.status == 200, f"{path}: {answer.status} {answer.text[:200]}"
        assert answer.headers["content-type"] == "application/json", path
        return answer.json

    def connections(self, query: str = "") -> list[dict[str, Any]]:
        """The entries of /connz."""
        entries: list[dict[str, Any]] = self.json(f"/connz?{query}")["connections"]
        return entries

    def entry(self, name: str, query: str = "") -> dict[str, Any]:
        """The entry of the connection with this name."""
        (entry,) = [entry for entry in self.connections(query) if entry.get("name") == name]
        return entry

    def closed(self, name: str, query: str = "auth=1") -> dict[str, Any]:
        """The entry of a connection that is closed, or will be soon."""
        return self.until(
            lambda: next(
                (e for e in self.connections(f"state=closed&sort=stop&{query}") if e.get("name") == name),
                None,
            )
        )

    def until(self, condition: Callable[[], Any], timeout: float = 15.0) -> Any:
        """What ``condition`` returns once it is true."""
        deadline = time.monotonic() + timeout
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not so within {timeout} s"
        return value

    def raw(self, data: bytes, timeout: float = 30.0) -> bytes:
        """All that comes back for these bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as client:
            client.sendall(data)
            answer = b""
            while more := client.recv(1 << 16):
                answer += more
            return answer


def moment(text: str) -> float:
    """A time as monitoring writes it, in seconds since 1970."""
    match = _TIME.fullmatch(text)
    assert match is not None, text
    assert not (match[2] or "").endswith("0"), text
    return datetime.fromisoformat(match[1] + "+00:00").timestamp() + float(f"0.{match[2] or 0}")
