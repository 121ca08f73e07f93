"""TLS of one worker's clients, as the configuration has it at the moment: off, on, on with other files.

A worker without TLS does not load OpenSSL, which costs time and memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.clients import Clients
from broker.core import Core
from broker.log import Log
from broker.options import Options

if TYPE_CHECKING:
    from broker.tls.context import TlsContext
    from broker.tls.link import Links
    from broker.tls.watch import Watch


class Tls:
    """What a worker has for TLS. Connections that began with it keep it, whatever becomes of the configuration."""

    __slots__ = ("_announce", "_clients", "_core", "_links", "_log", "_watch")

    def __init__(self, core: Core, clients: Clients, log: Log, announce: bool) -> None:
        """``announce``: this worker tells the log about certificates, for all."""
        self._core = core
        self._clients = clients
        self._log = log
        self._announce = announce
        self._links: Links | None = None
        self._watch: Watch | None = None

    def build(self, options: Options) -> TlsContext | None:
        """What these options need; None: nothing. Raises TlsError."""
        if options.tls is None:
            return None
        from broker.tls.context import TlsContext

        return TlsContext(options.tls)

    def use(self, options: Options, context: TlsContext | None) -> None:
        """From now on clients get ``context``, or none."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if context is None:
            return
        from broker.tls.link import Links
        from broker.tls.watch import Watch

        self._watch = Watch(context, self._log, self._announce)
        if self._links is None:
            self._links = Links(self._core, context, options.allow_non_tls, self._log)
            self._clients.set_links(self._links)
        else:
            self._links.change(context, options.allow_non_tls)

    def serve(self) -> None:
        """Do what a turn left to do."""
        if self._links is not None:
            self._links.serve()

    def close(self) -> None:
        """The server stops: every client gets a proper end."""
        if self._watch is not None:
            self._watch.close()
        if self._links is not None:
            self._links.close()
