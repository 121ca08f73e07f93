"""Load over TLS: publishers and subscribers that write and read in large pieces, so that the server is what is measured.

    python -m tests.bench.tlsload --port N --server-pids A,B --ca FILE --mode pubsub|fanout|reqrep --msgs N [--size N] [--subs N]

Prints one JSON object: messages delivered per second and server CPU per published or delivered message. Each connection
has a thread of its own; OpenSSL works outside of the interpreter's lock. Every message is counted at the receiving end.
"""

import argparse
import json
import socket
import ssl
import sys
import threading
import time
from dataclasses import dataclass

from tests.bench.servers import cpu_seconds

PIECE = 64 * 1024
TIMEOUT = 60.0
PING = b"PING\r\n"  # comes once, about two seconds after CONNECT


@dataclass(slots=True)
class Run:
    """What is sent, and where."""

    port: int
    pids: list[int]
    context: ssl.SSLContext
    size: int
    msgs: int
    subs: int

    def dial(self) -> ssl.SSLSocket:
        """A connected client. Raises OSError."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        info = b""
        while not info.endswith(b"\r\n"):
            info += plain.recv(1)
        client = self.context.wrap_socket(plain, server_hostname="127.0.0.1")
        client.sendall(b'CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n')
        expect(client, b"PONG\r\n")
        return client


def expect(client: ssl.SSLSocket, answer: bytes) -> None:
    """Read exactly this, leaving out the server's own PING. Raises OSError if something else comes."""
    got = b""
    while len(got) < len(answer):
        piece = client.recv(len(answer) - len(got))
        if not piece:
            break
        got = (got + piece).removeprefix(PING)
    if got != answer:
        raise OSError(f"{answer!r} expected, got {got!r}")


def stream(run: Run) -> dict[str, float]:
    """One publisher to all subscribers."""
    publisher = run.dial()
    frame = b"MSG bench 1 %d\r\n" % run.size
    wanted = run.msgs * (len(frame) + run.size + 2)
    readers = []
    for _ in range(run.subs):
        client = run.dial()
        client.sendall(b"SUB bench 1\r\nPING\r\n")
        expect(client, b"PONG\r\n")
        readers.append(_Reader(client, wanted))
    message = b"PUB bench %d\r\n%b\r\n" % (run.size, b"x" * run.size)
    per_piece = max(PIECE // len(message), 1)
    piece = message * per_piece
    before, began = cpu_seconds(run.pids), time.monotonic()
    for reader in readers:
        reader.start()
    for _ in range(run.msgs // per_piece):
        publisher.sendall(piece)
    publisher.sendall(message * (run.msgs % per_piece))
    for reader in readers:
        reader.join(TIMEOUT)
        if reader.got not in (wanted, wanted + len(PING)):
            raise OSError(f"{reader.got} bytes of {wanted} arrived")
    took, used = time.monotonic() - began, cpu_seconds(run.pids) - before
    delivered = run.msgs * run.subs
    return {"dlv_msgs_s": delivered / took, "server_cpu_us_per_msg": 1e6 * used / (run.msgs + delivered)}


class _Reader(threading.Thread):
    def __init__(self, client: ssl.SSLSocket, wanted: int) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._wanted = wanted
        self.got = 0

    def run(self) -> None:
        """Read until all has come, or the end."""
        room = bytearray(PIECE)
        while self.got < self._wanted:
            size = self._client.recv_into(room)
            if not size:
                return
            self.got += size


def requests(run: Run) -> dict[str, float]:
    """One requester and one responder, each waiting for the other: two published and two delivered messages a request."""
    requester, responder = run.dial(), run.dial()
    body = b"x" * run.size
    responder.sendall(b"SUB service 1\r\nPING\r\n")
    requester.sendall(b"SUB reply 1\r\nPING\r\n")
    expect(responder, b"PONG\r\n")
    expect(requester, b"PONG\r\n")
    request = b"PUB service reply %d\r\n%b\r\n" % (run.size, body)
    asked = b"MSG service 1 reply %d\r\n%b\r\n" % (run.size, body)
    answer = b"PUB reply %d\r\n%b\r\n" % (run.size, body)
    answered = b"MSG reply 1 %d\r\n%b\r\n" % (run.size, body)

    before, began = cpu_seconds(run.pids), time.monotonic()
    for _ in range(run.msgs):
        requester.sendall(request)
        expect(responder, asked)
        responder.sendall(answer)
        expect(requester, answered)
    took, used = time.monotonic() - began, cpu_seconds(run.pids) - before
    return {"req_s": run.msgs / took, "server_cpu_us_per_msg": 1e6 * used / (4 * run.msgs)}


def main() -> int:
    """0, or 1 with a line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.tlsload")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--server-pids", required=True)
    parser.add_argument("--ca", required=True)
    parser.add_argument("--mode", choices=("pubsub", "fanout", "reqrep"), required=True)
    parser.add_argument("--msgs", type=int, required=True)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--subs", type=int, default=1)
    given = parser.parse_args()
    pids = [int(pid) for pid in given.server_pids.split(",")]
    context = ssl.create_default_context(cafile=given.ca)
    run = Run(given.port, pids, context, given.size, given.msgs, given.subs)
    try:
        print(json.dumps(requests(run) if given.mode == "reqrep" else stream(run)))
    except OSError as error:
        print(f"tlsload: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
