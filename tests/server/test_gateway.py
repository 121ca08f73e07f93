"""The gateway process: clients do not need it, and it comes back; its metrics and its page."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests import probe
from tests.harness import FOUR, ONE, Kind, Raw, Server, start
from tests.server.monitor import MONITOR, Monitor

ROOT: Final = Path(__file__).resolve().parent.parent.parent
IDLE_BYTES: Final = 35 << 20


def gateways(server: Server) -> list[int]:
    """The gateway's process, if there is one."""
    return [pid for pid in probe.children(server.pid) if "broker.gateway" in probe.command_of(pid)]


@pytest.fixture(scope="module", params=[ONE, FOUR], ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with monitoring."""
    kind: Kind = request.param
    running = start(kind, MONITOR)
    try:
        yield running
        running.stop(allow="was killed by SIGKILL")
    finally:
        running.destroy()


def test_there_is_none_without_a_task() -> None:
    server = start(ONE, "no_system_account: true")
    assert gateways(server) == []
    server.stop()


def test_memory(server: Server) -> None:
    """No process needs much while it is idle."""
    monitor = Monitor(server)
    processes = monitor.json("/processz")["processes"]
    roles = [process["role"] for process in processes]
    assert roles == ["supervisor", *["worker"] * server.kind.workers, "gateway"]
    for process in processes:
        assert process["healthy"] and 0 < process["mem"] < IDLE_BYTES, process
    pids = {process["pid"] for process in processes}
    assert pids == {server.pid, *server.workers(), *gateways(server)}


def test_it_dies_and_comes_back(server: Server) -> None:
    """Clients notice nothing, and whoever asks meanwhile waits a moment."""
    monitor = Monitor(server)
    client = Raw(server.port).hello(name="witness").send(b"SUB x 1\r\n").expect_pong()
    (pid,) = gateways(server)
    os.kill(pid, signal.SIGKILL)
    client.send(b"PUB x 2\r\nhi\r\n").expect(b"MSG x 1 2\r\nhi\r\n").expect_pong()
    assert monitor.entry("witness")["in_msgs"] == 1
    (successor,) = gateways(server)
    assert successor != pid
    assert re.search(r"\[ERR\] Gateway \(pid \d+\) was killed by SIGKILL, restarting it", server.log.text)
    client.leave()


def test_its_death_takes_nothing_back(server: Server) -> None:
    """It reads what the workers have counted; what it knows itself is not needed for that."""
    monitor = Monitor(server)
    Raw(server.port).hello().send(b"PUB y 3\r\nabc\r\n" * 4).expect_pong().leave()
    before = monitor.json("/varz")
    (pid,) = gateways(server)
    os.kill(pid, signal.SIGKILL)
    after = monitor.json("/varz")
    for name in ("in_msgs", "in_bytes", "total_connections", "connections", "start"):
        assert after[name] == before[name], name


def test_a_hung_one_is_replaced() -> None:
    server = start(ONE, MONITOR)
    try:
        monitor = Monitor(server)
        monitor.json("/varz")
        os.kill(gateways(server)[0], signal.SIGSTOP)
        server.log.wait_for(r"\[ERR\] Gateway \(pid \d+\) gave no sign of life for \S+: killing it")
        assert monitor.json("/varz")["connections"] == 0
        server.stop(allow="Gateway|Fatal Python error|Aborted|File |thread|Current|Thread")
    finally:
        server.destroy()


def test_a_workers_death_takes_nothing_back(server: Server) -> None:
    """What it had counted stays counted, and the others' connections stay listed."""
    if server.kind.workers == 1:
        pytest.skip("takes more than one worker")
    monitor = Monitor(server)
    clients = [Raw(server.port).hello(name=f"of.many.{i}") for i in range(8)]
    for client in clients:
        client.send(b"PUB x 1\r\nx\r\n" * 5).expect_pong()
    before, account_before = monitor.json("/varz"), monitor.json("/accstatz")["account_statz"][0]
    victim = server.worker_of(clients[0].sock)
    lost = [client for client in clients if server.worker_of(client.sock) == victim]
    os.kill(victim, signal.SIGKILL)
    server.log.wait_for(rf"Worker \d+ \(pid (?!{victim}\b)\d+\) is ready")
    after = monitor.until(
        lambda: (v := monitor.json("/varz"))["connections"] == len(clients) - len(lost) and v
    )
    assert after["in_msgs"] == before["in_msgs"] and after["total_connections"] == before["total_connections"]
    account_after = monitor.json("/accstatz")["account_statz"][0]
    assert account_after["received"] == account_before["received"]
    assert account_after["conns"] == len(clients) - len(lost)
    monitor.until(lambda: all(process["healthy"] for process in monitor.json("/processz")["processes"]))
    assert monitor.json("/processz")["worker_restarts"] == 1
    names = {entry.get("name") for entry in monitor.connections()}
    assert {f"of.many.{i}" for i, client in enumerate(clients) if client not in lost} <= names
    for client in clients:
        client.close()


def test_rates(server: Server) -> None:
    monitor = Monitor(server)
    client = Raw(server.port).hello()

    def seen() -> Any:
        client.send(b"PUB rate 10\r\n0123456789\r\n" * 50).expect_pong()
        sample = monitor.json("/processz")["sample"]
        return sample["in_msgs_per_second"] > 0 and sample["in_bytes_per_second"] >= 10 and sample

    assert monitor.until(seen)["out_msgs_per_second"] == 0
    history = monitor.json("/processz?history=1")["history"]
    times = [sample["time"] for sample in history]
    assert times == sorted(times) and len(history) <= 180
    client.leave()


def test_openmetrics(server: Server) -> None:
    """The official parser reads it; names are the exporter's; workers and accounts are told apart."""
    monitor = Monitor(server)
    client = (
        Raw(server.port)
        .hello(name="measured")
        .send(b"SUB m 1\r\nPUB m 3\r\nabc\r\n")
        .expect(b"MSG m 1 3\r\nabc\r\n")
    )
    client.expect_pong()
    answer = monitor.get("/metrics")
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    varz = monitor.json("/varz")
    for name in (
        "in_msgs",
        "out_msgs",
        "in_bytes",
        "out_bytes",
        "connections",
        "subscriptions",
        "slow_consumers",
    ):
        (sample,) = families[f"gnatsd_varz_{name}"].samples
        assert sample.value == varz[name] and sample.labels == {"server_id": varz["server_id"]}
    for name in (
        "gnatsd_connz_num_connections",
        "gnatsd_connz_total",
        "gnatsd_subsz_num_subscriptions",
        "gnatsd_varz_start",
    ):
        assert families[name].type == "gauge"
    accounts = {
        sample.labels["account"]: sample.value
        for sample in families["gnatsd_accstatz_received_messages"].samples
    }
    assert accounts["$G"] >= 1 and accounts["$SYS"] == 0
    workers = families["spline_worker_in_msgs"].samples
    assert sum(sample.value for sample in workers) <= varz["in_msgs"] and len(workers) == server.kind.workers
    for name in ("slow_consumers", "stalls", "interest_drift", "mesh_out_msgs"):
        assert {sample.value for sample in families[f"spline_worker_{name}"].samples} >= {0.0}
    assert families["spline_process_cpu_seconds"].type == "counter"
    labels = {key for family in families.values() for sample in family.samples for key in sample.labels}
    assert labels <= {
        "server_id",
        "value",
        "account",
        "account_id",
        "account_name",
        "worker",
        "role",
        "index",
    }
    client.leave()


def test_dashboard_asks_for_what_there_is(server: Server) -> None:
    dashboard = json.loads((ROOT / "deploy/grafana-dashboard.json").read_text())
    families = {
        sample.name
        for family in text_string_to_metric_families(Monitor(server).get("/metrics").text)
        for sample in family.samples
    }
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
        for name in re.findall(r"(?:gnatsd|spline)_\w+", target["expr"])
    }
    assert len(asked) > 10 and asked <= families, asked - families


def test_page_policy(server: Server) -> None:
    """Its style and its script are the only ones that its policy lets run; it takes nothing from elsewhere."""
    answer = Monitor(server).get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for tag in ("script", "style"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', answer.text)
    assert not re.findall(r'\s(?:style|on\w+)="', answer.text)
    links = re.findall(r'<a href="([^"]+)"', answer.text)
    assert "/varz" in links and len(links) >= 12
    for link in links:
        assert Monitor(server).get(link).status == 200, link


def browser() -> str:
    """Chromium's command."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium")
    return found


def rendered(page: str) -> str:
    """The page's document after its script has run for some seconds, and what the browser complained about."""
    profile = tempfile.mkdtemp(prefix="browser-test-")
    try:
        done = subprocess.run(
            [
                browser(),
                *(
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-dev-shm-usage",
                    "--enable-logging=stderr",
                ),
                *(f"--user-data-dir={profile}", "--virtual-time-budget=4000", "--dump-dom", page),
            ],
            capture_output=True,
            timeout=90,
            check=True,
        )
    finally:
        shutil.rmtree(profile, ignore_errors=True)
    complaints = [line for line in done.stderr.decode(errors="replace").splitlines() if "CONSOLE" in line]
    assert not complaints, complaints
    return done.stdout.decode()


def test_page_in_a_browser(server: Server) -> None:
    """It shows the server's numbers, and what clients call themselves as text."""
    client = Raw(server.port).hello(name="<img src=x onerror=alert(1)>", lang="py", version="9.9")
    client.send(b"SUB p 1\r\n").expect_pong()
    document = rendered(f"http://127.0.0.1:{Monitor(server).port}/")
    assert '<span id="state" class="state good" role="status">healthy</span>' in document
    assert "&lt;img src=x onerror=alert(1)&gt;" in document and "<img" not in document
    assert "py 9.9" in document and "worker 0" in document and "supervisor" in document
    assert re.search(r"<b[^>]*>\d+</b>connections", document)
    (accounts,) = re.findall(r'<table id="accounts".*?</table>', document, re.DOTALL)
    assert accounts.count('<th scope="col" class="text">account</th>') == 1
    assert '<th scope="row" class="text" title="$G"><a href="/accountz?acc=%24G">$G</a></th>' in accounts
    assert "(2, 1 with connections)" in document
    client.leave()


def test_busiest_accounts(server: Server) -> None:
    monitor = Monitor(server)
    client = Raw(server.port).hello().send(b"SUB b 1\r\n").expect_pong()

    def busiest() -> Any:
        client.send(b"PUB b 10\r\n0123456789\r\n" * 50)
        accounts = monitor.json("/processz?accounts=1")["accounts"]
        (first,) = accounts["busiest"]
        assert accounts["total"] == 2 and accounts["active"] == 1 and first["acc"] == "$G"
        return first.get("rates", {}).get("in_msgs_per_second") and first

    found = monitor.until(busiest)
    assert (
        found["conns"] == 1
        and found["rates"]["in_bytes_per_second"] >= 9 * found["rates"]["in_msgs_per_second"]
    )
    received = found["received"]  # looked at while messages were being counted
    assert received["msgs"] >= 50 and abs(received["bytes"] - 10 * received["msgs"]) <= 10 * 50
    assert "accounts" not in monitor.json("/processz")
    client.leave()
