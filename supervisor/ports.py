"""The ports file: where a server can be reached, for those who let it choose its ports.

``<ports_file_dir>/<program>_<pid>.ports`` holds a JSON object: kind of port to addresses, such as
``{"nats":["nats://127.0.0.1:4222"]}``. It exists while the server can be reached.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from supervisor.errors import system_text
from supervisor.listeners import join_host_port

_IPV4_ADDRESS: Final = 0x8915  # SIOCGIFADDR
_WILDCARDS: Final = ("", "0.0.0.0", "::")


@dataclass(slots=True)
class PortsFile:
    """A ports file that has been written."""

    path: str

    def remove(self) -> str:
        """Remove it. Returns what went wrong, for the log; empty: nothing."""
        try:
            os.unlink(self.path)
        except OSError as error:
            return f"Error cleaning up ports file {self.path}: remove {self.path}: {system_text(error)}"
        return ""


def write_ports_file(directory: str, program: str, ports: Mapping[str, Sequence[str]]) -> PortsFile | str:
    """Write the file into ``directory``. Returns it; or what went wrong, for the log."""
    path = os.path.join(directory, f"{program}_{os.getpid()}.ports")
    text = json.dumps({kind: list(urls) for kind, urls in ports.items() if urls}, separators=(",", ":"))
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        return f"Error writing ports file ({path}): open {path}: {system_text(error)}"
    return PortsFile(path)


def port_urls(scheme: str, host: str, port: int) -> list[str]:
    """The addresses of a listener; one for each of the machine's addresses, if it listens on all of them."""
    hosts = local_addresses() if host in _WILDCARDS else [host]
    return [f"{scheme}://{join_host_port(one, port)}" for one in hosts]


def local_addresses() -> list[str]:
    """The addresses of this machine's interfaces, IPv4 first."""
    import fcntl
    import struct

    found: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", os.fsencode(name)[:15])
            try:
                answer = fcntl.ioctl(probe.fileno(), _IPV4_ADDRESS, request)
            except OSError:  # it has no IPv4 address
                continue
            found.append(socket.inet_ntoa(answer[20:24]))
    with contextlib.suppress(OSError):  # the machine has no IPv6
        table = Path("/proc/net/if_inet6").read_text(encoding="ascii")
        found += [
            socket.inet_ntop(socket.AF_INET6, bytes.fromhex(line.split()[0])) for line in table.splitlines()
        ]
    return found
