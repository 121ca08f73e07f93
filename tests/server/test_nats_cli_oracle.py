"""What the real `nats` tool prints of our server, beside what it prints of nats-server in the same situation."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.harness import FOUR, ONE, REAL, Kind
from tests.server.monitor import Monitor
from tests.server.nats_cli import Cli, Done, home
from tests.server.shared import Dial, Servers
from tests.server.test_nats_cli import CONFIG, client

# Printed as text or tables, and the same but for the numbers of clients.
TEXTS: Final = (
    ("sys", "account info"),
    ("app", "account info"),
    ("lim", "account info"),
    ("sys", "server account info APP"),
    ("sys", "server account info OTH"),
    ("sys", "server account info SYS"),
    ("sys", "server account info $G"),
    ("sys", "server account info NONE"),
    ("sys", "server report connections --account APP"),
    ("sys", "server report connections --account OTH --sort cid"),
    ("sys", "server report connections --account APP --subject a.b --sort in-bytes"),
    ("sys", 'server report connections --account APP --state closed --filter conns.name=="gone"'),
    ("sys", "server report connections --subject a.b"),
    ("sys", "server report connections --account NONE"),
    ("sys", "server request connections --sort nonsense"),
    ("sys", "server request jetstream --leader --timeout 500ms"),
    ("sys", "server report accounts APP"),
    ("app", "server report accounts"),
    ("sys", "server report health"),
    ("sys", "server report jetstream"),
    ("sys", "server report leafnodes"),
    ("sys", "server report routes"),
    ("sys", "server report gateways"),
    ("sys", "server report downgrade 1"),
    ("app", "server ls"),
    ("app", "server ping --timeout 1s"),
    ("app", "server check request --subject nobody"),
    ("sys", "server check jetstream"),
    ("app", "account report connections --subject a.b"),
    ("app", "account tls"),
    ("app", "request nobody x"),
    ("app", "service list"),
    ("app", "stream ls"),
    ("app", "kv add bucket"),
    ("app", "stream info none"),
    ("wrong", "publish a b"),
)
# Printed as JSON: the same fields, of the same types, and the same values where these are not the server's own.
VALUES: Final = (
    "ls --json",
    "report connections --json --account APP --sort cid",
    "report accounts APP --json",
    "request connections --sort cid --filter-account APP --subscriptions",
    "request connections --filter-account APP --filter-subject a.b",
    "request connections --filter-account APP --filter-state closed",
    "request connections --filter-subject a.b",
    "request connections --filter-cid 999999",
    "request subscriptions --filter-subject a.>",
    "request accounts",
    "request accounts --account APP",
    "request accounts --account NONE",
    "request gateways --accounts",
    "request leafnodes --subscriptions",
    "request routes --subscriptions",
    "request jetstream --all",
    "request jetstream-health --js-enabled",
    "request jetstream-health --account NONE",
    "request raft",
    "request variables",
    "account info APP --json",
)
# Of these only the type is compared: identity, clock, load and program of a server, how it has numbered its clients, what the
# tool itself has caused, and counts in which nats-server includes subscriptions of its own.
OWN: Final = frozenset(
    "id server_id now time start uptime seq cid port ip rtt last_activity stop idle mem cpu cores gomaxprocs go "
    "config_digest config_load_time update_time total_connections http_port http_req_stats bytes out_bytes "
    "pending_bytes subscriptions total num_subscriptions num_cache num_inserts num_removes num_matches cache_hit_rate "
    "max_fanout avg_fanout".split()
)
# Ours can not have this: the commit that it was built of.
WITHOUT: Final = frozenset(("git_commit",))


def steady(value: Any, key: str = "") -> Any:
    """A value without what differs from server to server, and without the tool's own connections."""
    if key in OWN:
        return "number" if isinstance(value, (int, float)) else type(value).__name__
    if isinstance(value, dict):
        return {name: steady(member, name) for name, member in value.items() if name not in WITHOUT}
    if isinstance(value, list):
        return sorted((steady(member, key) for member in value if not _tools(member)), key=repr)
    return value


def _tools(member: Any) -> bool:
    return isinstance(member, dict) and str(member.get("name")).startswith("NATS CLI ")


@pytest.fixture(scope="module", params=[ONE, FOUR], ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    """A server to compare."""
    chosen: Kind = request.param
    return chosen


class Scene:
    """A server with clients that are always the same."""

    def __init__(self, kind: Kind) -> None:
        self.servers = Servers(kind)
        self.dial = Dial(self.servers)
        self.folder = home()
        self.cli = Cli(self.dial.server(CONFIG), self.folder)
        self.monitor = Monitor(self.cli.server)
        client(self.dial, "app", "gone", b"SUB a.b 1\r\nPUB z 2\r\nzz\r\n").leave()
        self.clients = (
            client(self.dial, "app", "one", b"SUB a.b 1\r\nSUB a.* q 2\r\nSUB x.> 3\r\n"),
            client(self.dial, "app2", "two", b"SUB a.b 1\r\nPUB a.b 4\r\nabcd\r\nPUB x.y 5\r\nabcde\r\n"),
            client(self.dial, "oth", "three", b"SUB p.st.> 1\r\nPUB a.b 4\r\nabcd\r\n"),
        )

    def run(self, user: str, words: str) -> Done:
        """What a command prints when no earlier one is still connected."""
        self.monitor.until(lambda: self.monitor.json("/connz")["num_connections"] == len(self.clients))
        return self.cli.run(user, *words.split())

    def close(self) -> None:
        """End everything."""
        self.cli.close()
        shutil.rmtree(self.folder)
        self.dial.close()
        self.servers.stop()


@pytest.fixture(scope="module")
def theirs(kind: Kind) -> Iterator[Scene]:
    """At nats-server, anew for every kind of ours: what the tool does leaves traces."""
    scene = Scene(REAL)
    yield scene
    scene.close()


@pytest.fixture(scope="module")
def ours(kind: Kind) -> Iterator[Scene]:
    """At our server."""
    scene = Scene(kind)
    yield scene
    scene.close()


@pytest.mark.parametrize(("user", "words"), TEXTS)
def test_same_text(ours: Scene, theirs: Scene, user: str, words: str) -> None:
    our, their = ours.run(user, words), theirs.run(user, words)
    assert our.code == their.code
    apart = (
        "\n\n" if words.startswith("server account info") else "\0"
    )  # there nats-server's order is by chance
    assert sorted(our.steady.split(apart)) == sorted(their.steady.split(apart))


@pytest.mark.parametrize("words", VALUES)
def test_same_values(ours: Scene, theirs: Scene, words: str) -> None:
    our, their = ours.run("sys", f"server {words}"), theirs.run("sys", f"server {words}")
    assert our.code == their.code and steady(our.json) == steady(their.json)
