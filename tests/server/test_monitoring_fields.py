"""The fields of our answers, and their types, beside those of the real nats-server in the same situation.

nats-top and prometheus-nats-exporter decode by name and type: a field that is missing, or a string where they expect a number, is
what would break them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.harness import FOUR, REAL, Kind, Raw, Server, start
from tests.server.monitor import MONITOR, Monitor

CONFIG: Final = MONITOR + "\nserver_tags: [a, b]\nmax_subscriptions: 100"
PATHS: Final = (
    "/varz",
    "/connz?auth=1&subs=detail",
    "/connz?auth=1&subs=1&state=any&sort=cid",
    "/connz?cid=999",
    "/connz?acc=ZZ",
    "/subsz",
    "/subsz?subs=1&test=seen.now",
    "/routez",
    "/gatewayz",
    "/leafz",
    "/accountz",
    "/accountz?acc=$G",
    "/accstatz?unused=1",
    "/jsz",
    "/healthz",
)
# Of nats-server's, those that we cannot have: which commit it was built of. Imports have a chance order there:
# test_monitoring_accounts.py compares them.
WITHOUT: Final = {"/varz": {"git_commit"}, "/accountz?acc=$G": {"account_detail.imports"}}


def shape(value: Any, path: str = "") -> dict[str, str]:
    """The type of every field, by its path; what is in a list counts once."""
    if isinstance(value, dict):
        fields = {path: "object"} if path else {}
        for key, member in value.items():
            fields |= shape(member, f"{path}.{key}" if path else key)
        return fields
    if isinstance(value, list):
        fields = {path: "list"}
        for member in value:
            fields |= shape(member, path + "[]")
        return fields
    if isinstance(value, bool) or value is None:
        return {path: str(value and True)}
    return {path: "number" if isinstance(value, (int, float)) else "string"}


def scene(kind: Kind) -> Iterator[Server]:
    """A server with an open connection and a closed one."""
    server = start(kind, CONFIG)
    try:
        monitor = Monitor(server)
        for path in ("/varz", "/connz"):  # so that they are in the statistics
            monitor.get(path)
        client = Raw(server.port, pings=True)
        client.send_connect(verbose=False, name="n", lang="l", version="v").expect(b"PING\r\n").send(
            b"PONG\r\n"
        )
        client.send(b"SUB seen.* q 1\r\nUNSUB 1 5\r\nPUB seen.now 0\r\n\r\n").expect(
            b"MSG seen.now 1 0\r\n\r\n"
        ).expect_pong()
        gone = Raw(server.port).hello(name="gone").send(b"SUB x 1\r\n").expect_pong()
        gone.leave()
        monitor.closed("gone")
        yield server
        client.leave()
        server.stop()
    finally:
        server.destroy()


@pytest.fixture(scope="module")
def ours() -> Iterator[Server]:
    """Our server."""
    yield from scene(FOUR)


@pytest.fixture(scope="module")
def theirs() -> Iterator[Server]:
    """The real one."""
    yield from scene(REAL)


@pytest.mark.parametrize("path", PATHS)
def test_fields(ours: Server, theirs: Server, path: str) -> None:
    mine, real = (shape(Monitor(server).json(path)) for server in (ours, theirs))
    left_out = WITHOUT.get(path, set())
    expected = {
        key: kind
        for key, kind in real.items()
        if not any(key == each or key.startswith((each + ".", each + "[")) for each in left_out)
    }
    missing = {key: kind for key, kind in expected.items() if mine.get(key) != kind}
    assert not missing, f"nats-server has {missing}, we have { {key: mine.get(key) for key in missing} }"
    assert set(mine) - set(real) <= {"connections[].stalls"}, f"we have in addition {set(mine) - set(real)}"


@pytest.mark.parametrize("path", PATHS)
def test_order(ours: Server, theirs: Server, path: str) -> None:
    """People read them, too: fields come in the same order."""
    mine, real = (list(shape(Monitor(server).json(path))) for server in (ours, theirs))
    common = [key for key in real if key in mine]
    assert [key for key in mine if key in real] == common
