"""Which process of a server holds which connection of the load generator: read from the kernel's socket
tables.

The rows about crossing from one worker to another are worth nothing if the two ends met on one worker by
chance, and no client can see that. So it is looked up, not assumed.
"""

import contextlib
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.servers import BenchError, Server

CONNECTED_TIMEOUT = 10.0  # seconds
ESTABLISHED = "01"


@dataclass(slots=True, frozen=True)
class Socket:
    """One established connection, as one end sees it."""

    inode: int
    local_port: int
    remote_port: int


def parse_tcp_table(text: str) -> list[Socket]:
    """The established connections of a /proc/net/tcp."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if fields[3] == ESTABLISHED:
            ports = [int(address.rpartition(":")[2], 16) for address in fields[1:3]]
            found.append(Socket(int(fields[9]), ports[0], ports[1]))
    return found


def socket_inodes(pid: int) -> list[int]:
    """The sockets that a process has open, by descending age: descriptors are handed out in rising order."""
    found = []
    for descriptor in sorted(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
            if target.startswith("socket:["):
                found.append(int(target[8:-1]))
    return found


def workers_of(server: Server, client: int) -> list[int]:
    """For each connection that the client process has open to the server, in the order of opening: the pid of
    the server's process that holds it. Connections still in the making are left out."""
    sockets = parse_tcp_table(Path("/proc/net/tcp").read_text(encoding="ascii"))
    by_inode = {entry.inode: entry for entry in sockets}
    holder = {}
    for pid in server.pids:
        for inode in socket_inodes(pid):
            entry = by_inode.get(inode)
            if entry is not None and entry.local_port == server.port:
                holder[entry.remote_port] = pid
    ends = (by_inode[inode] for inode in socket_inodes(client) if inode in by_inode)
    return [holder[end.local_port] for end in ends if end.local_port in holder]


def crossing_share(server: Server, run: subprocess.Popen[str], pairs: int, pad: int) -> float:
    """Which share of a run's pairs has its two ends on different workers. The run must pause (`--settle`)
    between connecting and sending, and this call returns within that pause. Raises BenchError if it never
    connects."""
    deadline = time.monotonic() + CONNECTED_TIMEOUT
    while time.monotonic() < deadline and run.poll() is None:
        holders = workers_of(server, run.pid)
        if len(holders) == 2 * pairs + pad:
            ends = zip(holders[:pairs], holders[pairs + pad :], strict=True)
            return sum(one != other for one, other in ends) / pairs
        time.sleep(0.01)
    raise BenchError("the connections of the load generator could not be found in the server's processes")
