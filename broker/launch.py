"""What the supervisor tells a child at its start: the whole of it, once, in inherited memory.

The child gets the number of a descriptor as its only argument. Behind it is a memfd that holds a pickled
``Launch``; pickling is safe here because the parent wrote it and nobody else can open it. Passwords of the
configuration are part of it: they reach no disk, no command line and no environment.
"""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass, field

from broker.options import Options


@dataclass(slots=True)
class Launch:
    """One start of one child. Every ``int`` that is said to be a descriptor is valid in the child.

    ``index`` is the worker's number (0 to ``workers`` - 1), or ``workers`` for the gateway. ``serial`` is unique for
    each start of any child and ever increasing: a restarted worker has the same index and a new serial.
    """

    index: int
    serial: int
    workers: int
    run_dir: str  # private directory (0700), short enough for socket addresses in it
    options: Options  # checked; the port is the one that is bound
    server_id: str  # N... (a server's public nkey)
    server_pid: int  # shown in log lines
    listeners: list[int]  # client listening sockets, non-blocking, shared by all workers
    control: int  # our end of the control channel (AF_UNIX, SOCK_SEQPACKET)
    shared: int  # memfd of the page that all processes share
    handoff: list[tuple[int, int]]  # per worker: (receive, send) of an AF_UNIX SOCK_DGRAM pair
    log: int  # where packets of log lines go (AF_UNIX, SOCK_SEQPACKET), shared by all
    gateway: bool = False  # there is a gateway process
    http: list[int] = field(
        default_factory=list
    )  # the gateway's: monitoring's listening sockets, non-blocking
    started_ns: int = 0  # when the server was started, since 1970

    @property
    def processes(self) -> int:
        """How many processes the mesh has."""
        return self.workers + self.gateway

    def descriptors(self) -> list[int]:
        """Every descriptor that the child has to inherit for this."""
        return [
            *self.listeners,
            *self.http,
            self.control,
            self.shared,
            self.log,
            *(descriptor for pair in self.handoff for descriptor in pair),
        ]


def write_launch(launch: Launch) -> int:
    """A new memfd that holds ``launch``, for the child to inherit. OSError: out of descriptors or memory."""
    return _write("spline-launch", launch)


def read_launch(descriptor: int) -> Launch:
    """The ``Launch`` in a memfd made by ``write_launch``; closes it. TypeError: it holds something else."""
    launch = _read(descriptor)
    if not isinstance(launch, Launch):
        raise TypeError(f"a Launch was expected, not {type(launch).__name__}")
    return launch


def write_options(options: Options) -> int:
    """A new memfd that holds ``options``, for all children to be sent. OSError: out of descriptors or memory."""
    return _write("spline-change", options)


def read_options(descriptor: int) -> Options:
    """The ``Options`` in a memfd made by ``write_options``; closes it. TypeError: it holds something else."""
    options = _read(descriptor)
    if not isinstance(options, Options):
        raise TypeError(f"Options were expected, not {type(options).__name__}")
    return options


def _write(name: str, value: object) -> int:
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            pickle.dump(value, file, protocol=pickle.HIGHEST_PROTOCOL)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _read(descriptor: int) -> object:
    # Several processes may share the descriptor's position: reading at a given one does not care.
    try:
        return pickle.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    finally:
        os.close(descriptor)
