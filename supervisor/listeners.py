"""The listening sockets, for clients and for monitoring: bound once here, inherited by the children, alive until the
server ends.

A child's death therefore refuses nobody: new connections wait in the kernel until another worker, or the next
gateway, accepts them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from broker.options import Options
from supervisor.errors import StartError, system_text

BACKLOG: Final = 4096
MAX_PORT: Final = 65535
CLIENT_FAILURE: Final = 'Error listening on port: {shown}, "{what}"'
MONITOR_FAILURE: Final = "Can't start monitoring: can't listen to the monitor port: {what}"
_WILDCARDS: Final = ("", "0.0.0.0", "::")
# A random port is free for IPv4, but perhaps not for IPv6: then another one is tried.
_RANDOM_TRIES: Final = 50
# The machine has no IPv6, or not on this host.
_NO_FAMILY: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)

# An address family and a socket address of it, whose port does not count.
Target = tuple[socket.AddressFamily, tuple[Any, ...]]


@dataclass(slots=True)
class Listeners:
    """Listening sockets on one port: usually one, two (IPv4 and IPv6) for all addresses of the machine."""

    host: str
    port: int
    sockets: list[socket.socket]
    inherited: bool = False  # the service manager has them, too, and they are its

    @property
    def address(self) -> str:
        """What the log calls it: ``host:port``."""
        return join_host_port(self.host, self.port)

    def descriptors(self) -> list[int]:
        """The numbers of the sockets' descriptors."""
        return [each.fileno() for each in self.sockets]

    def refuse(self) -> None:
        """Accept no one any more. Whoever connects is refused at once, although workers have the sockets, too; the service
        manager's own stay open for our successor.
        """
        for each in self.sockets:
            if not self.inherited:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            each.close()
        self.sockets.clear()

    def close(self) -> None:
        """Close our copies."""
        for each in self.sockets:
            each.close()


def join_host_port(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def adopt(sockets: list[socket.socket]) -> Listeners:
    """Listeners that somebody else has opened: the first one's address is the server's."""
    name = sockets[0].getsockname()
    return Listeners(name[0], name[1], sockets, inherited=True)


def listen(host: str, port: int, failure: str = CLIENT_FAILURE) -> Listeners:
    """Bind ``host`` and a port (-1 or 0: any free one). StartError: cannot, in nats-server's words (``failure``).

    A wildcard host means IPv4 and IPv6, as for nats-server: "localhost" of a client may be either. They are
    two sockets, so that IPv4 addresses look like IPv4 addresses.
    """
    shown = join_host_port(host, port)
    if not -1 <= port <= MAX_PORT:
        raise StartError(failure.format(shown=shown, what=f"listen tcp: address {port}: invalid port"))
    if host in _WILDCARDS:
        targets: list[Target] = [(socket.AF_INET, ("0.0.0.0", 0)), (socket.AF_INET6, ("::", 0))]
    else:
        targets = [_resolve(host, shown, failure)]
    tries = _RANDOM_TRIES if port <= 0 else 1
    while True:
        tries -= 1
        try:
            sockets = _bind_all(targets, max(port, 0), host in _WILDCARDS)
        except OSError as error:
            if tries and error.errno == errno.EADDRINUSE:
                continue
            what = f"listen tcp {shown}: bind: {system_text(error)}"
            raise StartError(failure.format(shown=shown, what=what)) from error
        return Listeners(host, sockets[0].getsockname()[1], sockets)


def listen_monitor(options: Options) -> Listeners | None:
    """The listening sockets of HTTP monitoring, if it is wanted. StartError: cannot, in nats-server's words."""
    if not options.http_port and not options.https_port:
        return None
    return listen(options.http_host or options.host, options.http_port or options.https_port, MONITOR_FAILURE)


def _resolve(host: str, shown: str, failure: str) -> Target:
    """The one address of a host to listen on: the first IPv4 one, or else the first."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        what = f"listen tcp: lookup {host}: no such host"
        raise StartError(failure.format(shown=shown, what=what)) from error
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, address


def _bind_all(targets: Sequence[Target], port: int, wildcard: bool) -> list[socket.socket]:
    """Bind all targets to one port. With a wildcard, a family that the machine does not have is left out."""
    sockets: list[socket.socket] = []
    try:
        for family, address in targets:
            try:
                bound = _bind(family, address, port)
            except OSError as error:
                if wildcard and error.errno in _NO_FAMILY:
                    continue
                raise
            sockets.append(bound)
            port = bound.getsockname()[1]
    except OSError:
        for each in sockets:
            each.close()
        raise
    if not sockets:
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    return sockets


def _bind(family: socket.AddressFamily, address: tuple[Any, ...], port: int) -> socket.socket:
    """One non-blocking listening socket."""
    each = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Connections of a predecessor that are still waiting for their end must not keep its port.
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        each.setblocking(False)
        each.bind((address[0], port, *address[2:]))
        each.listen(BACKLOG)
    except BaseException:
        each.close()
        raise
    return each
