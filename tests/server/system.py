"""Asks the system account, and knows the forms of what it answers."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any, Final

from tests.harness import Raw
from tests.server.shared import Dial
from tests.snappy import decode

NO_RESPONDERS: Final = b"NATS/1.0 503"


@dataclass(slots=True, frozen=True)
class Answer:
    """One answer: headers (the whole block, or nothing) and payload."""

    headers: bytes
    payload: bytes

    @property
    def encoding(self) -> str:
        """What the answer says of its encoding; empty: nothing."""
        _, found, rest = self.headers.partition(b"Content-Encoding: ")
        return rest.partition(b"\r\n")[0].decode() if found else ""

    @property
    def text(self) -> str:
        """The payload, decoded."""
        data = self.payload
        if self.encoding == "gzip":
            data = zlib.decompress(data, 31)
        elif self.encoding == "snappy":
            data = decode(data)
        return data.decode()

    @property
    def json(self) -> Any:
        """The payload's value."""
        return json.loads(self.text)


class Asker:
    """A client that asks, and waits for answers: one question at a time."""

    def __init__(self, client: Raw) -> None:
        self.cid = int(client.info["client_id"])
        self.inbox = f"_INBOX.{self.cid}"
        self.raw = client.send(f"SUB {self.inbox}.* 1\r\n".encode()).expect_pong()
        self.server_id = str(client.info["server_id"])
        self._count = 0

    def send(self, subject: str, body: str | bytes = b"", headers: bytes = b"") -> str:
        """Send a request; returns its reply subject. ``<id>`` in the subject stands for the server's id."""
        self._count += 1
        reply = f"{self.inbox}.{self._count}"
        where = subject.replace("<id>", self.server_id)
        data = body.encode() if isinstance(body, str) else body
        if headers:
            block = b"NATS/1.0\r\n" + headers + b"\r\n\r\n"
            line = f"HPUB {where} {reply} {len(block)} {len(block) + len(data)}\r\n".encode()
            self.raw.send(line + block + data + b"\r\n")
        else:
            self.raw.send(f"PUB {where} {reply} {len(data)}\r\n".encode() + data + b"\r\n")
        return reply

    def answer(self) -> tuple[str, Answer]:
        """The next answer, and what it was sent to."""
        words = self.raw.read_until(b"\r\n").split()
        data = self.raw.take(int(words[-1]) + 2)[:-2]
        size = int(words[-2]) if words[0] == b"HMSG" else 0
        return words[1].decode(), Answer(data[:size], data[size:])

    def ask(self, subject: str, body: str | bytes = b"", headers: bytes = b"") -> Answer:
        """The answer to a request."""
        reply = self.send(subject, body, headers)
        where, answer = self.answer()
        assert where == reply, f"an answer to an earlier question: {answer.payload[:200]!r}"
        return answer

    def data(self, subject: str, body: str = "") -> Any:
        """What a good answer holds."""
        answer = self.ask(subject, body).json
        assert set(answer) == {"server", "data"}, answer
        return answer["data"]

    def error(self, subject: str, body: str = "", *, null: bool = False) -> tuple[int, str]:
        """(code, description) of an answer that is none; ``null``: it says that there are no data."""
        answer = self.ask(subject, body).json
        assert set(answer) == {"server", "error", *(["data"] if null else [])}, answer
        assert answer.get("data") is None and set(answer["error"]) == {"code", "description"}
        return answer["error"]["code"], answer["error"]["description"]

    def nobody(self, subject: str) -> None:
        """Assert that nobody listens to this subject."""
        answer = self.ask(subject)
        assert answer.headers.startswith(NO_RESPONDERS), (subject, answer)

    def silent(self, *questions: tuple[str, str]) -> None:
        """Assert that these requests, for which somebody listens, are not answered: later ones are."""
        unwanted = {self.send(subject, body) for subject, body in questions}
        for _ in range(3):  # answers may overtake each other, but not that far
            where, answer = self.answer_to_all()
            assert where not in unwanted, answer

    def answer_to_all(self) -> tuple[str, Answer]:
        """The answer to a request that any client may send, once the server has read what came before."""
        self.send("$SYS.REQ.USER.INFO")
        return self.answer()


def asker(dial: Dial, config: str, user: str, **options: object) -> Asker:
    """A client of this user, whose password is its name."""
    fields = {"headers": True, "no_responders": True, "name": f"{user}-conn", "lang": "raw", "version": "1"}
    return Asker(dial(config).hello(user=user, **{"pass": user}, **{**fields, **options}))
