"""Monitoring over HTTPS, and when the server changes while it runs: lines 17, 18, 52 of the list, and lame duck mode."""

from __future__ import annotations

import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.harness import FOUR, Kind, Raw, Server, config_text, start
from tests.server.monitor import MONITOR, Monitor, moment


@pytest.fixture
def running(kind: Kind) -> Iterator[Server]:
    """A server of its own."""
    server = start(kind, MONITOR)
    try:
        yield server
    finally:
        server.destroy()


def change(server: Server, config: str) -> None:
    """Another configuration for a running server, told by signal; returns when it is in force."""
    mark = server.log.mark()
    (server.folder / "server.conf").write_text(config_text(server.kind, config))
    server.process.send_signal(signal.SIGHUP)
    server.log.wait_for(r"Reloaded server configuration|Failed to reload", since=mark)


def test_reload(running: Server) -> None:
    """17, 18."""
    monitor = Monitor(running)
    before = monitor.json("/varz")
    change(running, MONITOR + "\nmax_payload: 4567")
    if running.kind.real:  # which says so in its log a moment too early
        monitor.until(lambda: monitor.json("/varz")["max_payload"] == 4567)
    after = monitor.json("/varz")
    assert after["max_payload"] == 4567
    assert moment(after["config_load_time"]) > moment(before["config_load_time"])
    assert after["config_digest"] != before["config_digest"]
    assert after["start"] == before["start"] and after["http_port"] == before["http_port"]
    change(running, MONITOR + "\nmax_payload: nonsense")
    refused = monitor.json("/varz")
    assert refused["max_payload"] == 4567 and refused["config_load_time"] == after["config_load_time"]
    running.stop()


def test_lame_duck(running: Server) -> None:
    """Whoever asks about its health is told that it is leaving; everything else still answers."""
    change(running, MONITOR + '\nlame_duck_duration: "60s", lame_duck_grace_period: "1s"')
    monitor = Monitor(running)
    client = Raw(running.port).hello(name="stays")
    assert monitor.get("/healthz").status == 200
    running.process.send_signal(signal.SIGUSR2)
    running.log.wait_for("Entering lame duck mode")
    answer = monitor.until(lambda: (a := monitor.get("/healthz")).status != 200 and a)
    assert answer.status == 500
    assert answer.json == {"status": "error", "error": "failed to be ready for connections after 1ms: server"}
    assert monitor.json("/varz")["connections"] == 1
    assert monitor.entry("stays")["subscriptions"] == 0
    client.close()


def trust(authority: Authority) -> ssl.SSLContext:
    """What a careful client uses."""
    return ssl.create_default_context(cafile=str(authority.file))


def test_https(kind: Kind, tmp_path: Path) -> None:
    """52: with the clients' certificate, and nobody is asked for one, even where clients are."""
    authority = Authority(tmp_path)
    pair = authority.issue("server", [[("CN", "server")]], hosts=["127.0.0.1"])
    files = f'cert_file: "{pair.cert}", key_file: "{pair.key}", ca_file: "{authority.file}"'
    server = start(kind, f"https_port: -1\ntls {{ {files}, verify: true }}")
    try:
        monitor = Monitor(server, trust(authority))
        varz = monitor.json("/varz")
        assert varz["tls_required"] is True and varz["tls_verify"] is True and varz["http_port"] == 0
        assert varz["https_port"] == (-1 if kind.real else monitor.port)
        assert monitor.json("/connz")["connections"] == [] and monitor.get("/healthz").status == 200
        with pytest.raises((OSError, AssertionError)):  # not in the clear
            Monitor(server).json("/varz")
        server.log.wait_for(r"Starting https monitor on")
        server.stop(allow="TLS|tls|http: ")
    finally:
        server.destroy()


def test_a_handshake_that_is_not_finished_holds_nobody_up(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("server", [[("CN", "server")]], hosts=["127.0.0.1"])
    server = start(FOUR, f'https_port: -1\ntls {{ cert_file: "{pair.cert}", key_file: "{pair.key}" }}')
    try:
        monitor = Monitor(server, trust(authority))
        silent = [Raw(monitor.port, info=False) for _ in range(200)]
        for each in silent:
            each.send(b"\x16\x03\x01\x02\x00\x01")
        assert monitor.json("/varz")["connections"] == 0
        for each in silent:
            each.close()
        server.stop()
    finally:
        server.destroy()
