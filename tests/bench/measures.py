"""The measurements: each is a function that takes a running (or startable) server and returns named numbers.

Units are in the names: `_s` seconds, `_us` microseconds, `kib` and `mib` memory, `rate` and `_per_s` per
second.
"""

import contextlib
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench import accounts, placement, servers
from tests.bench.generator import Generator, collect
from tests.bench.rows import Row
from tests.bench.servers import BenchError, Server, Spec

FIRST_PINGS = 3.0  # seconds after which every new client has had the PING that measures its round trip
SETTLE_MS = 400  # pause of a run between connecting and sending, in which its connections are looked up
PLACEMENTS = 20  # how often a run is begun anew because its pairs were placed wrongly
MISPLACED = 0.1  # the share of pairs that may be
USER, PASSWORD = "bench", "bench-password"
CREDENTIALS = ("--user", USER, "--pass", PASSWORD)


@dataclass(slots=True, frozen=True)
class Size:
    """How much is measured."""

    share: float  # of each row's full number of messages
    repeats: int
    connects: int
    idle_s: float
    idle_connections: int
    latency_requests: int


FULL = Size(share=1.0, repeats=5, connects=4_000, idle_s=5.0, idle_connections=5_000, latency_requests=300)
QUICK = Size(share=0.15, repeats=3, connects=1_000, idle_s=1.5, idle_connections=1_000, latency_requests=80)


def workload(generator: Generator, server: Server, row: Row, size: Size) -> dict[str, float]:
    """One run of a row: `rate` per second, and `cpu_us` of server CPU per published or delivered message."""
    result = generator.run(server, row.command(size.share))
    return {"rate": result[row.rate], "cpu_us": result["server_cpu_us_per_msg"]}


def tls_workload(server: Server, row: Row, size: Size, ca: Path, cpu: int) -> dict[str, float]:
    """One run of a row over TLS, with the same numbers. Raises BenchError if it failed."""
    pids = ",".join(map(str, server.pids))
    target = ("--port", str(server.port), "--server-pids", pids, "--ca", str(ca))
    with servers.pinned(cpu):
        run = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.tlsload", *target, *row.command(size.share)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    result = collect(run)
    return {"rate": result[row.rate], "cpu_us": result["server_cpu_us_per_msg"]}


def crossing(
    generator: Generator, server: Server, row: Row, pairs: int, size: Size, across: bool
) -> dict[str, float]:
    """One run of a row whose pairs are (all but a few) within one worker, or across two. Raises BenchError if
    the server keeps placing them differently."""
    workers = len(server.workers)
    share = 0.0
    for attempt in range(PLACEMENTS):
        pad = 0
        if (
            workers > 1
        ):  # connections go to the workers in turn: the requesters' turn starts where the pad says
            pad = (int(across) - pairs + attempt) % workers
        run = generator.spawn(
            server, (*row.command(size.share), "--pad", str(pad), "--settle", str(SETTLE_MS))
        )
        try:
            share = placement.crossing_share(server, run, pairs, pad)
            if workers == 1 or abs(share - across) <= MISPLACED:
                result = collect(run)
                return {"rate": result[row.rate], "cpu_us": result["server_cpu_us_per_msg"]}
        finally:
            run.kill()
            run.communicate()
    raise BenchError(f"{share:.0%} of the pairs cross from worker to worker, not {float(across):.0%}")


def latency_beside_stream(generator: Generator, server: Server, size: Size) -> dict[str, float]:
    """Request-reply of one pair while another pair sends 128 B messages as fast as the server takes them."""
    stream = generator.spawn(
        server, ("--mode", "pubsub", "--size", "128", "--msgs", "2000000000", "--subject", "bulk")
    )
    try:
        time.sleep(0.3)
        requests = (
            "--mode",
            "reqrep",
            "--size",
            "128",
            "--msgs",
            str(size.latency_requests),
            "--warmup",
            "20",
        )
        result = generator.run(server, (*requests, "--subject", "service"))
        if stream.poll() is not None:
            raise BenchError("the stream ended before the requests")
    finally:
        stream.kill()
        stream.communicate()
    return {"p50_us": result["p50_us"], "p99_us": result["p99_us"]}


def connects(generator: Generator, server: Server, size: Size) -> dict[str, float]:
    """Connections opened and closed per second, eight at a time, each with name and password."""
    arguments = ("--mode", "connect", "--msgs", str(size.connects), "--threads", "8", *CREDENTIALS)
    result = generator.run(server, arguments)
    return {
        "connects_per_s": result["connects_s"],
        "connect_cpu_us": result["server_cpu_us_per_connect"],
        "connect_p99_us": result["p99_us"],
    }


def idle_memory(generator: Generator, server: Server, size: Size) -> dict[str, float]:
    """Resident memory that a server takes for each connected client that says nothing."""
    result = generator.run(server, ("--mode", "idle", "--subs", str(size.idle_connections)))
    return {"idle_kib_per_connection": result["rss_bytes_per_conn"] / 1024}


def idle_cpu(server: Server, size: Size) -> dict[str, float]:
    """CPU, in percent of a core, that a server takes for a thousand connected clients that say nothing."""
    with contextlib.ExitStack() as clients:
        for _ in range(1000):
            clients.enter_context(_client(server.port))
        time.sleep(FIRST_PINGS)
        start = servers.cpu_seconds(server.pids)
        time.sleep(size.idle_s)
        used = servers.cpu_seconds(server.pids) - start
    return {"idle_cpu_percent_1000_clients": 100 * used / size.idle_s}


def many_accounts(generator: Generator, spec: Spec, cpu: int, size: Size) -> dict[str, float]:
    """Start with few accounts and with very many: seconds until ready, and memory of each account; then the
    memory of each of very many clients that are all busy. Both servers are new: one that had clients before
    would have kept their memory."""
    with (
        servers.running(spec, cpu, config=accounts.config()) as few,
        servers.running(spec, cpu, config=accounts.config(accounts.MANY)) as many,
    ):
        more = sum(map(servers.resident_kib, many.pids)) - sum(map(servers.resident_kib, few.pids))
        busy = generator.run(many, accounts.MANY_ACCOUNTS.through[0].command(size.share))
        return {
            "ready_s_few_accounts": few.ready_s,
            f"ready_s_{accounts.MANY}_accounts": many.ready_s,
            "kib_per_account": more / accounts.MANY,
            "kib_per_busy_client": busy["server_rss_bytes_per_conn"] / 1024,
        }


def lifecycle(spec: Spec, cpu: int) -> dict[str, float]:
    """Start and stop a server: seconds from exec to ready and from the signal to the end, and memory when
    ready."""
    server = servers.start(spec, cpu)
    result = {"ready_s": server.ready_s}
    try:
        result |= {_process_name(server, pid): servers.resident_kib(pid) / 1024 for pid in server.pids}
    finally:
        result["stop_s"] = servers.stop(server)
    return result


def _process_name(server: Server, pid: int) -> str:
    if len(server.pids) == 1:
        return "resident_mib_server"
    if pid == server.process.pid:
        return "resident_mib_supervisor"
    return (
        f"resident_mib_worker_{server.workers.index(pid)}"
        if pid in server.workers
        else "resident_mib_gateway"
    )


def _client(port: int) -> socket.socket:
    """A connected client: its handshake is over when this returns. Raises BenchError if the server refuses
    it."""
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    client.sendall(b'CONNECT {"verbose":false}\r\nPING\r\n')
    received = b""
    while b"PONG\r\n" not in received:
        piece = client.recv(65536)
        if not piece:
            raise BenchError(f"the server refused a client: {received[-200:]!r}")
        received += piece
    return client
