"""What the kernel knows about a server's processes and sockets.

The tests look at a server from the outside. Which worker holds a connection, whether the server has read what was sent,
how much memory a process uses: the kernel tells all that without the server's help, by /proc and by sock_diag.
Linux only. A process that is gone raises ``ProcessLookupError`` or ``FileNotFoundError`` unless said otherwise.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from pathlib import Path
from typing import Final, NamedTuple

_SOCK_DIAG: Final = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY: Final = 20  # SOCK_DIAG_BY_FAMILY
_LOOPBACK: Final = socket.inet_aton("127.0.0.1") + bytes(12)
_HEADER: Final = struct.Struct("=IHHII")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Endpoint(NamedTuple):
    """One end of a loopback TCP connection: bytes that arrived but were not read, and the socket's inode (0: orphan)."""

    unread: int
    inode: int


def endpoint(local: int, remote: int) -> Endpoint | None:
    """The IPv4 loopback TCP socket with port ``local`` whose peer has port ``remote``; None if there is none."""
    ports = struct.pack("!HH", local, remote)
    ask = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + ports
    ask += _LOOPBACK + _LOOPBACK + struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as diag:
        diag.send(_HEADER.pack(_HEADER.size + len(ask), _BY_FAMILY, 1, 1, 0) + ask)
        answer = diag.recv(8192)
    if _HEADER.unpack_from(answer)[1] != _BY_FAMILY:
        return None  # an error message: no such socket
    _, unread, _, _, inode = struct.unpack_from("=IIIII", answer, _HEADER.size + 4 + 48)
    return Endpoint(unread, inode)


def wait_read(client: socket.socket, timeout: float = 10.0) -> None:
    """Return when the other end of ``client`` has read every byte sent so far, or is closed.

    The kernel has no event for this, so it is asked again and again, giving way to other processes in between.
    """
    try:
        local, remote = client.getsockname()[1], client.getpeername()[1]
    except OSError:
        return  # the other end has reset the connection
    deadline = time.monotonic() + timeout
    while (end := endpoint(remote, local)) is not None and end.unread:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the server left {end.unread} bytes unread for {timeout} s")
        os.sched_yield()


def sockets_of(pid: int) -> set[int]:
    """The inodes of all sockets that process ``pid`` holds."""
    inodes: set[int] = set()
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        try:
            target = os.readlink(f"{folder}/{name}")
        except FileNotFoundError:
            continue  # closed between the two calls
        if target.startswith("socket:["):
            inodes.add(int(target[8:-1]))
    return inodes


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name: state, parent, group, session, ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def children(parent: int) -> list[int]:
    """The live (not zombie) children of process ``parent``, oldest first. Empty when it is gone."""
    found: list[tuple[int, int]] = []
    for pid in _pids():
        try:
            fields = _stat(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == parent and fields[0] not in "ZX":
            found.append((int(fields[19]), pid))  # start time: ticks since boot
    return [pid for _, pid in sorted(found)]


def session_members(session: int) -> list[int]:
    """Every process of the session that ``session`` leads, zombies too: what a server left behind, once it has ended."""
    found: list[int] = []
    for pid in _pids():
        try:
            if int(_stat(pid)[3]) == session:
                found.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def resident(pid: int) -> int:
    """Resident memory of process ``pid`` in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def cpu_seconds(pid: int) -> float:
    """User and system time that process ``pid`` has used, in seconds (granularity: a clock tick, 10 ms)."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS


def machine_cpu_seconds() -> float:
    """Time that all processors of the machine have spent working, in seconds since boot."""
    user, nice, system, _, _, *rest = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(rest)) / _TICKS


def command_of(pid: int) -> list[str]:
    """The argument vector of process ``pid``."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").rstrip("\0").split("\0")
