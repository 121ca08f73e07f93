"""A process as a member of the mesh: whom it is joined with, and what they tell each other about interest.

The data plane makes and understands the messages, the pipes carry them; here they meet, and the supervisor's list decides who
is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import zmq

from broker.core import Applied, Core
from broker.launch import Launch
from broker.log import Log
from broker.mesh.pipes import Pipes, stream_path


class Member:
    """Our place in the mesh. ``changed`` is called whenever we may have become joined with all others."""

    __slots__ = (
        "_alive",
        "_apart",
        "_changed",
        "_core",
        "_launch",
        "_listed",
        "_log",
        "_loop",
        "_pipes",
        "_warned",
    )

    def __init__(self, core: Core, launch: Launch, log: Log, changed: Callable[[], None]) -> None:
        """Be ready for others. Raises OSError or zmq.ZMQError."""
        self._core = core
        self._launch = launch
        self._log = log
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._listed = False
        self._alive: dict[int, int] = {}  # the supervisor's latest list: index -> serial
        self._apart: set[int] = set()  # those of them whom we were not joined with at the last beat
        self._warned: set[int] = set()  # serials
        self._pipes: Pipes | None = None
        if launch.processes > 1:
            self._pipes = Pipes(launch.run_dir, launch.index, launch.serial, log.error)
            core.mesh_listen(stream_path(launch.run_dir, launch.index, launch.serial))
            self._loop.add_reader(self._pipes.fileno(), self._receive)
            core.watch(self._pipes.fileno())

    @property
    def context(self) -> zmq.Context[zmq.Socket[bytes]] | None:
        """The process's ZeroMQ context, for other sockets; None if there is none yet."""
        return self._pipes.context if self._pipes is not None else None

    @property
    def joined(self) -> bool:
        """Does everybody who lives know our interest, and we theirs?"""
        return self._listed and not self._missing() and self._core.mesh_joined()

    def meet(self, peers: Iterable[tuple[int, int]]) -> None:
        """The supervisor's list of who is there (index, serial); whoever is missing is dead."""
        self._listed = True
        pipes = self._pipes
        if pipes is not None:
            self._alive = {index: serial for index, serial in peers if index != self._launch.index}
            for index in pipes.peers():
                serial = pipes.serial(index)
                if serial is not None and self._alive.get(index) != serial:
                    self._core.peer_down(index, serial)
                    pipes.drop(index)
            for index in self._missing():
                self._join(pipes, index)
            self.send()
        self._changed()

    def lost(self, peer: int) -> None:
        """The stream to a peer broke."""
        if self._pipes is not None:
            self._pipes.drop(peer)

    def send(self) -> None:
        """Send what the data plane has to tell others."""
        pipes = self._pipes
        if pipes is None:
            return
        sent = False
        for peer, message in self._core.control_messages():
            pipes.send(peer, message)
            sent = True
        if sent and pipes.pending():
            self._loop.call_soon(self._receive)

    def beat(self) -> None:
        """Try again with those who have been missing for a while: without a stream nothing reaches their clients."""
        pipes, missing = self._pipes, self._missing()
        if pipes is not None:
            for index in missing & self._apart:
                who = "the gateway" if index == self._launch.workers else f"worker {index}"
                if self._alive[index] not in self._warned:
                    self._warned.add(self._alive[index])
                    self._log.warn(f"mesh: no connection to {who}, trying again")
                self._join(pipes, index)
        self._apart = missing
        self.send()
        self._changed()

    def close(self) -> None:
        """Leave."""
        if self._pipes is not None:
            self._loop.remove_reader(self._pipes.fileno())
            self._pipes.close()
            self._pipes = None

    def _missing(self) -> set[int]:
        """Those who live, as far as the supervisor knows, and are not joined with us."""
        return self._alive.keys() - self._pipes.peers() if self._pipes is not None else set()

    def _join(self, pipes: Pipes, index: int) -> None:
        serial = self._alive[index]
        pipes.connect(index, serial)
        if not self._core.peer_up(index, serial, stream_path(self._launch.run_dir, index, serial)):
            pipes.drop(index)  # it has died (the next list says so), or we are short of something

    def _receive(self) -> None:
        pipes = self._pipes
        if pipes is None:
            return
        for message in pipes.receive():
            result = self._core.control(message)
            if result == Applied.MALFORMED:
                self._log.error("mesh: malformed control message from a peer")
            elif result == Applied.DRIFTED:
                self._log.warn("mesh: what was known of a peer's interest had drifted, asking for all of it")
        self.send()
        self._changed()
        if pipes.pending():
            self._loop.call_soon(self._receive)
