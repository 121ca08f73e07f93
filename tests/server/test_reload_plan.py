"""What a reload would change or refuse, told beforehand: nats-server does just that, and says it in the same words."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from broker.options import Options, load
from broker.options.command_line import Command
from broker.options.reload import plan, refusal
from tests.harness import REAL, Server, launch

pytestmark = pytest.mark.timeout(90)

CERTIFICATES: Final = Path(__file__).parents[1] / "unit" / "options" / "vectors"

BASE: Final = """
    listen: "127.0.0.1:-1"
    server_name: base
    server_metadata { a: b }
    max_pending: 64MB
    authorization { users: [ { user: a, password: b }, { user: c, password: d } ] }
    no_auth_user: a
    tls { cert_file: "cert.pem", key_file: "key.pem", timeout: 3 }
    lame_duck_duration: "1m"
    logtime: true
"""

# What stands in BASE to what stands instead of it; nothing: the text is added.
CHANGES: Final[list[tuple[str, str]]] = [
    ("", "debug: true"),
    ("", "trace: true"),
    ("", "trace_verbose: true"),
    ("", "trace_headers: true"),
    ("logtime: true", "logtime: false"),
    ("", "logtime_utc: true"),
    ("", "server_tags: [a, b]"),
    ("a: b }", "a: c }"),
    ("", 'client_advertise: "h:1"'),
    ("", "max_connections: 5"),
    ("", "max_control_line: 8kb"),
    ("", "max_payload: 2MB"),
    ("", 'ping_interval: "90s"'),
    ("", "ping_max: 5"),
    ("", 'write_deadline: "1500ms"'),
    ("", "max_traced_msg_len: 5"),
    ("", "connect_error_reports: 5"),
    ("", "reconnect_error_reports: 5"),
    ("", "no_fast_producer_stall: true"),
    ("", 'pid_file: "pid"'),
    ("", "prof_block_rate: 0"),
    ("password: b", "password: e"),
    (", { user: c, password: d }", ""),
    ("timeout: 3", "timeout: 4"),
    ("timeout: 3", f'timeout: 3, pinned_certs: ["{"ab" * 32}"]'),
    ("timeout: 3", "timeout: 3, handshake_first: true"),
    ("timeout: 3", "timeout: 3, handshake_first: auto"),
    ("timeout: 3", "timeout: 3, verify_and_map: true"),
    ("timeout: 3", "timeout: 3, connection_rate_limit: 5"),
    ('listen: "127.0.0.1:-1"', 'listen: "localhost:-1"'),
    ("server_name: base", "server_name: other"),
    ("", "max_subscriptions: 5"),
    ("", "max_sub_tokens: 5"),
    ("max_pending: 64MB", "max_pending: 32MB"),
    ("", "max_closed_clients: 5"),
    ("", "write_timeout: close"),
    ("", "no_header_support: true"),
    ("", "disable_sublist_cache: true"),
    ("", "feature_flags { x: true }"),
    ('lame_duck_duration: "1m"', 'lame_duck_duration: "90s"'),
    ("", 'lame_duck_grace_period: "5s"'),
    ("", "log_size_limit: 5"),
    ("", "http_port: 4"),
    ("", 'http_base_path: "/x"'),
    ("", "allow_non_tls: true"),
    ("", "proxy_protocol: true"),
    ("no_auth_user: a", "no_auth_user: c"),
    ("no_auth_user: a", ""),
]

# nats-server says these at every reload, changed or not.
_ALWAYS: Final = frozenset(("Reloaded: accounts", "Reloaded: authorization users"))
_LINE: Final = re.compile(r"\[\d+\] (?:\S+ \S+ )?\[(?:INF|ERR)\] (.*)")
_END: Final = r"Reloaded server configuration|Failed to reload server configuration"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A nats-server that runs BASE."""
    folder = tmp_path_factory.mktemp("reload")
    for name in ("cert.pem", "key.pem"):
        shutil.copy(CERTIFICATES / name, folder)
    write(folder, BASE)
    running = launch(REAL, ["-c", str(folder / "server.conf")], folder=folder)
    try:
        yield running.wait_ready()
    finally:
        running.destroy()


def write(folder: Path, text: str) -> None:
    """The configuration file, with the paths of its certificates completed."""
    for name in ("cert.pem", "key.pem", "pid"):
        text = text.replace(f'"{name}"', f'"{folder / name}"')
    (folder / "server.conf").write_text(text)


def options(server: Server) -> Options:
    loaded = load(Command("run", config_file=str(server.folder / "server.conf")))
    assert loaded.errors == []
    return loaded.options


def reload(server: Server, text: str) -> list[str]:
    """What nats-server says of a reload of this text."""
    write(server.folder, text)
    mark = server.log.mark()
    server.process.send_signal(signal.SIGHUP)
    server.log.wait_for(_END, since=mark)
    said = [match[1] for match in map(_LINE.match, server.log.text.splitlines()[mark:]) if match]
    wanted = ("Reloaded: ", "Reload: ", "Failed to reload server configuration: ")
    return [line for line in said if line.startswith(wanted) and line not in _ALWAYS]


@pytest.mark.parametrize(("before", "after"), CHANGES, ids=[f"{number}" for number in range(len(CHANGES))])
def test_plan(server: Server, before: str, after: str) -> None:
    assert before in BASE
    reload(server, BASE)
    old = options(server)
    said = reload(server, BASE.replace(before, after, 1) if before else f"{BASE}\n{after}\n")
    changes = plan(old, options(server))
    assert changes or after == "prof_block_rate: 0"
    refused = refusal(changes)
    if refused:
        assert said == [f"Failed to reload server configuration: {refused}"]
        return
    expected = {change.text for change in changes} - _ALWAYS
    # A new reading of certificates is not a change of options, but nats-server says so each time.
    assert set(said) - {"Reloaded: tls = enabled"} == expected - {"Reloaded: tls = enabled"}
