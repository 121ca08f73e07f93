"""A child that speaks the supervisor's contract and nothing else, and misbehaves on demand.

It is given its orders by files in the directory $FAKE_ORDERS: the file ``<index>`` (or ``all``) holds a word for each
of its starts, separated by spaces; the last word stays in force. A start takes the next word:

    ok            bound, ready, beats, stops when told
    crash         exits with code 1 at once
    fatal         says why it cannot start and exits with code 3
    silent        exits with code 3 without a word
    deaf          does not stop when told, and ignores SIGTERM
    late          is never ready
    beatless      becomes ready, then beats no more
    refuses       cannot prepare a new configuration
    mute          does not answer when it should prepare one
    dies          dies of it

Once it is ready, it answers every connection to its listeners with one line: ``<index> <serial> <pid> <port>``.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import struct
import sys
import time
from pathlib import Path

from broker.launch import Launch, read_launch, read_options


def next_order(orders: Path, index: int) -> str:
    """The word for this start."""
    for name in (str(index), "all"):
        with contextlib.suppress(FileNotFoundError):
            first, _, rest = (orders / name).read_text().strip().partition(" ")
            if rest and name != "all":
                (orders / name).write_text(rest)
            return first
    return "ok"


class FakeChild:
    """One start of one worker."""

    def __init__(self, launch: Launch, order: str) -> None:
        self.launch = launch
        self.order = order
        self.control = socket.socket(fileno=launch.control)
        self.ready = False
        self.prepared = launch.options

    def say(self, **message: object) -> None:
        """Tell the supervisor something."""
        self.control.send(json.dumps(message).encode())

    def beat(self) -> None:
        """Write accepting and the time into our slot."""
        slot = 64 * (1 + self.launch.index)
        os.pwrite(self.launch.shared, struct.pack("=I", 1), slot)
        os.pwrite(self.launch.shared, struct.pack("=Q", time.monotonic_ns() // 1_000_000), slot + 16)

    def run(self) -> int:
        """Live; returns the exit code."""
        if self.order == "crash":
            return 1
        if self.order == "silent":
            return 3
        if self.order == "fatal":
            self.say(op="fatal", text=f"worker {self.launch.index} has no reason to live")
            return 3
        if self.order == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.say(op="bound")
        with selectors.DefaultSelector() as selector:
            selector.register(self.control, selectors.EVENT_READ)
            for listener in self.launch.listeners:
                selector.register(listener, selectors.EVENT_READ)
            while True:
                if self.ready and self.order != "beatless":
                    self.beat()
                for key, _ in selector.select(0.05):
                    if key.fileobj is not self.control:
                        self.greet(key.fd)
                        continue
                    packet, descriptors, _, _ = socket.recv_fds(self.control, 65536, 1)
                    if not packet or self.obey(json.loads(packet), descriptors):
                        return 0

    def obey(self, message: dict[str, object], descriptors: list[int]) -> bool:
        """Take an order; returns True if it is the last one."""
        note(f"heard {self.launch.index} {json.dumps(message)}")
        match message["op"]:
            case "prepare":
                self.prepare(message["id"], descriptors[0])
                return False
            case "commit":
                note(f"limit {self.launch.index} {self.prepared.max_connections}")
                self.say(op="committed", id=message["id"])
                return False
            case "abort":
                return False
        if message["op"] == "stop":
            return self.order != "deaf"
        if not self.ready and self.order != "late":
            self.ready = True
            self.beat()
            self.say(op="ready")
        return False

    def prepare(self, number: object, memory: int) -> None:
        """Get ready for other options, or do not."""
        self.prepared = read_options(memory)
        if self.order == "dies":
            os._exit(1)
        if self.order != "mute":
            self.say(
                op="prepared", id=number, error="it is not to my taste" if self.order == "refuses" else ""
            )

    def greet(self, listener: int) -> None:
        """Accept one connection, if no sibling was faster, and say who did."""
        if not self.ready:
            return
        with socket.socket(fileno=os.dup(listener)) as shared:
            try:
                client, _ = shared.accept()
            except BlockingIOError:
                return
        with client:
            launch = self.launch
            client.sendall(f"{launch.index} {launch.serial} {os.getpid()} {launch.options.port}\n".encode())


def note(text: str) -> None:
    """A line for the test to see."""
    os.write(2, f"{text}\n".encode())


def main() -> int:
    """Run with a descriptor number as the last argument."""
    launch = read_launch(int(sys.argv[1]))
    order = next_order(Path(os.environ["FAKE_ORDERS"]), launch.index)
    note(f"child {launch.index} {launch.serial} {os.getpid()} {order} {launch.run_dir}")
    note(f"begins {launch.index} {launch.serial} {launch.options.max_connections}")
    return FakeChild(launch, order).run()


if __name__ == "__main__":
    sys.exit(main())
