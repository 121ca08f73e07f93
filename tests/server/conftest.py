"""The servers under test: every conformance test runs against each kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness import FOUR, ONE, REAL, Kind
from tests.server.farm import Farm
from tests.server.pki import Pki
from tests.server.shared import Dial, Servers


@pytest.fixture(scope="session", params=[ONE, FOUR, REAL], ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The server under test."""
    chosen: Kind = request.param
    return chosen


@pytest.fixture(scope="session")
def servers(kind: Kind) -> Iterator[Servers]:
    """The shared servers of this kind."""
    shared = Servers(kind)
    try:
        yield shared
    finally:
        shared.stop()


@pytest.fixture
def dial(servers: Servers) -> Iterator[Dial]:
    """Opens clients: ``dial()`` to a server with default options, ``dial(text)`` to one with that configuration."""
    dialled = Dial(servers)
    try:
        yield dialled
    finally:
        dialled.close()
        servers.check()


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Certificates for the tests of TLS."""
    return Pki.issue(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def farm(request: pytest.FixtureRequest) -> Iterator[Farm]:
    """A server of the kind (and configuration) that the test is parametrized with; by default four workers."""
    kind, config = getattr(request, "param", (FOUR, ""))
    made = Farm(kind, config)
    try:
        yield made
    finally:
        made.close()
