"""Clients of tests with accounts: what they got, in the terms of ``account_model``, and when everything has arrived."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.harness import Server
from tests.server.account_model import Copy, plain_name
from tests.server.crew import Crew

HOPS: Final = 6  # from worker to worker, of a message that looks for somebody who may have it


@dataclass(slots=True, frozen=True)
class Message:
    """What a client got."""

    subject: str
    sid: str
    reply: str
    headers: str
    payload: str


def frames(data: bytes) -> Iterator[Message | str]:
    """The messages in ``data``, and the texts of errors."""
    at = 0
    while at < len(data):
        end = data.index(b"\r\n", at)
        words = data[at:end].decode().split()
        at = end + 2
        match words[0]:
            case "-ERR":
                yield data[:end].decode().rsplit("\r\n", 1)[-1][6:-1]
            case "MSG" | "HMSG":
                headers = int(words[-2]) if words[0] == "HMSG" else 0
                size = int(words[-1])
                left = words[3 : -2 if headers else -1]
                text = data[at : at + size].decode()
                assert data[at + size : at + size + 2] == b"\r\n"
                at += size + 2
                yield Message(words[1], words[2], left[0] if left else "", text[:headers], text[headers:])
            case "PONG":
                assert at == len(data)
            case _:
                raise AssertionError(words)


class Fence:
    """Knows when everything has arrived everywhere: a stream between two workers keeps its order, whoever speaks."""

    def __init__(self, server: Server) -> None:
        self.crew = Crew(server)
        self.clients = self.crew.place(*range(server.kind.workers), user="fence")
        for client in self.clients:
            client.send(b"SUB past 1\r\n").expect_pong()

    def past(self, hops: int) -> None:
        """Return when what was on its way ``hops`` streams ago is there."""
        for _ in range(hops if len(self.clients) > 1 else 0):
            for client in self.clients:
                client.send(b"PUB past 0\r\n\r\n")
            for client in self.clients:
                client.expect(b"MSG past 1 0\r\n\r\n" * len(self.clients))


def seen_as(one: Message) -> Copy:
    """A message in the terms of the model; a service is told once who asks, and there is no other header."""
    told = re.findall("\r\nNats-Request-Info: (.*)\r\n", one.headers)
    info = json.loads(told[0]) if told else {}
    assert len(told) <= 1 and bool(told) == bool(one.headers), one
    return Copy(
        int(one.sid), plain_name(one.subject), plain_name(one.reply), info.get("acc", ""), info.get("svc", "")
    )
