"""Servers that tests share, and clients that do not outlive their test."""

from __future__ import annotations

from tests.harness import Kind, Raw, Server, start


class Servers:
    """The running servers of one kind, by configuration text. Starting one takes longer than most tests."""

    LIMIT = 4  # idle servers cost a little, too

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._running: dict[str, Server] = {}

    def get(self, config: str = "") -> Server:
        """A running server with this configuration, perhaps one that other tests have used."""
        server = self._running.pop(config, None) or self._start(config)
        self._running[config] = server  # the last one is the most recently used one
        return server

    def _start(self, config: str) -> Server:
        if len(self._running) >= self.LIMIT:
            self._running.pop(next(iter(self._running))).stop()
        return start(self.kind, config)

    def check(self) -> None:
        """Assert that all are well; one that is not is replaced, so that the test at hand alone fails."""
        for config, server in list(self._running.items()):
            try:
                server.check()
            except AssertionError:
                server.destroy()
                del self._running[config]
                raise

    def stop(self) -> None:
        """Stop all, then report the first that did not stop well."""
        failures: list[AssertionError] = []
        while self._running:
            _, server = self._running.popitem()
            try:
                server.stop()
            except AssertionError as failure:
                failures.append(failure)
        if failures:
            raise failures[0]


class Dial:
    """Opens clients and closes them in order at the end of the test."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._open: list[Raw] = []

    def __call__(
        self, config: str = "", *, info: bool = True, timeout: float = 10.0, pings: bool = False
    ) -> Raw:
        client = Raw(self._servers.get(config).port, info=info, timeout=timeout, pings=pings)
        self._open.append(client)
        return client

    @property
    def kind(self) -> Kind:
        """The kind of server that is dialled."""
        return self._servers.kind

    def server(self, config: str = "") -> Server:
        """The server that is dialled."""
        return self._servers.get(config)

    def close(self) -> None:
        """Leave all clients that are still open."""
        while self._open:
            self._open.pop().leave()
