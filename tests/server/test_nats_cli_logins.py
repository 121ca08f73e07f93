"""The real `nats` tool comes in: by key and hashed password, over TLS, and again after it has been thrown out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.harness import until
from tests.server.monitor import MONITOR, Monitor
from tests.server.nats_cli import Cli, home
from tests.server.pki import Pki
from tests.server.shared import Dial

OPEN: Final = """system_account: SYS
accounts { SYS { users: [ { user: sys, password: sys } ] } }
no_auth_user: sys
"""
At = Callable[[str], Cli]


@pytest.fixture
def at(dial: Dial) -> Iterator[At]:
    """The tool at a server with that configuration."""
    folder = home()
    tools: list[Cli] = []

    def start(config: str) -> Cli:
        tools.append(Cli(dial.server(f"{MONITOR}\n{config}"), folder))
        return tools[-1]

    try:
        yield start
    finally:
        for tool in tools:
            tool.close()
        shutil.rmtree(folder)


def test_key_and_hashed_password(at: At, tmp_path: Path) -> None:
    """Both made by the tool itself."""
    tool = at(OPEN)
    seed, other = tmp_path / "seed", tmp_path / "other"
    for file in (seed, other):
        tool("", "auth", "nkey", "gen", "user", "--output", str(file))
    public = tool("", "auth", "nkey", "show", str(seed)).text.strip()
    secret = "correct horse battery staple"
    hashed = tool("", "server", "passwd", "--pass", secret, "--cost", "4").text.strip()
    assert hashed.startswith("$2a$04$")
    secured = at(
        f"authorization {{ users: [ {{ nkey: {public} }}, {{ user: joe, password: '{hashed}' }} ] }}"
    )
    assert f"User: {public}" in secured("", "account", "info", "--nkey", str(seed)).text
    assert "User: joe" in secured("", "account", "info", "--user", "joe", "--password", secret).text
    for login in (("--nkey", str(other)), ("--user", "joe", "--password", hashed)):
        assert "Authorization Violation" in secured("", "account", "info", *login, code=1).text


@pytest.mark.parametrize("first", [False, True], ids=["after-info", "handshake-first"])
def test_tls(at: At, pki: Pki, first: bool) -> None:
    secured = at(pki.tls(f"verify: true, handshake_first: {str(first).lower()}"))
    trust = ("--tlsca", str(pki.authority.file), *(["--tlsfirst"] if first else []))
    derek = (*trust, "--tlscert", str(pki.derek.cert), "--tlskey", str(pki.derek.key))
    text = secured("", "account", "info", *derek).text
    assert "TLS Version: 1.3" in text and "TLS Verified: issuer CN=test ca" in text, text
    chain = secured("", "account", "tls", "--no-pem", *derek).text
    assert "CN=server" in chain, chain
    reader = secured.start("", "sub", "over.tls", "--count", "1", *derek)
    secured("", "publish", "over.tls", "x" * 100_000, *derek)
    assert f"\n{'x' * 100_000}\n" in reader.wait().text
    # How a client learns of it depends on which of its words come first.
    assert "tls" in secured("", "account", "info", *trust, code=1).text
    stranger = (*trust, "--tlscert", str(pki.stranger.cert), "--tlskey", str(pki.stranger.key))
    assert "tls" in secured("", "account", "info", *stranger, code=1).text


def test_kicked_client_returns(at: At) -> None:
    """It comes back by itself, with its subscriptions."""
    tool = at(OPEN)
    reader = tool.start("sys", "sub", "news", "--count", "2", "--raw")
    monitor = Monitor(tool.server)
    (before,) = monitor.connections("subs=1")
    tool("sys", "publish", "news", "first", "--quiet")
    reader.log.wait_for("first")
    identity = tool("sys", "server", "request", "variables").json["server"]["id"]
    tool("sys", "server", "request", "kick", str(before["cid"]), identity)

    def returned() -> bool:
        entries = monitor.connections("subs=1")
        return any(e["cid"] != before["cid"] and e.get("subscriptions_list") == ["news"] for e in entries)

    until(returned, timeout=60.0)
    tool("sys", "publish", "news", "second", "--quiet")
    assert "second" in reader.wait().text
