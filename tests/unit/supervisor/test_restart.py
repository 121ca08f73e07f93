"""Workers that die, hang or never begin."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from .conftest import Start

pytestmark = pytest.mark.timeout(60)

FAST = {"tick": 0.05, "beat_timeout": 0.4, "boot_timeout": 1.0, "abort_grace": 0.1, "first_delay": 0.01}


def test_a_killed_worker_is_replaced_at_once(start: Start) -> None:
    server = start()
    mark = server.log.mark()
    began = time.monotonic()
    os.kill(server.child(1), signal.SIGKILL)
    server.log.wait_for(r"\[ERR\] Worker 1 \(pid \d+\) was killed by SIGKILL, restarting it", since=mark)
    server.log.wait_for(r"\[INF\] Worker 1 \(pid \d+\) is ready", since=mark)
    assert time.monotonic() - began < 1.0
    # The survivor heard of the death, then of the successor.
    server.log.wait_for(re.escape('heard 0 {"op": "peers", "peers": [[0, 1]]}'), since=mark)
    server.log.wait_for(re.escape('heard 0 {"op": "peers", "peers": [[0, 1], [1, 3]]}'), since=mark)
    assert server.log.text.count("Server is ready") == 1
    server.stop()


def test_clients_wait_while_there_is_no_worker(start: Start) -> None:
    server = start(options={"workers": 1})
    os.kill(server.child(0), signal.SIGKILL)
    assert server.ask()[:2] == (0, 2)
    server.stop()


def test_what_a_dead_worker_held_is_cleared(start: Start) -> None:
    server = start({"1": "ok late"})
    mark = server.log.mark()
    os.kill(server.child(1), signal.SIGKILL)
    server.log.wait_for(r"^child 1 3 ", since=mark)
    assert all(server.ask()[0] == 0 for _ in range(4))
    slots = Path(f"/proc/{server.child(0)}/fd")
    page = next(file for file in slots.iterdir() if "spline-shared" in os.readlink(file))
    with page.open("rb") as memory:
        memory.seek(64 * 2)
        assert memory.read(8) == bytes(8)


def test_an_unexpected_clean_exit_is_a_death_too(start: Start) -> None:
    server = start()
    mark = server.log.mark()
    os.kill(server.child(0), signal.SIGTERM)
    server.log.wait_for(r"Worker 0 \(pid \d+\) is ready", since=mark)
    server.stop()


def test_a_crash_at_the_start_is_tried_again(start: Start) -> None:
    server = start({"0": "crash ok"}, policy=FAST)
    assert "exited with code 1, restarting it" in server.log.text
    server.stop()


@pytest.mark.parametrize("order", ["silent", "fatal"])
def test_a_worker_that_cannot_start_ends_the_start(start: Start, tmp_path: Path, order: str) -> None:
    pid_file = tmp_path / "pid"
    server = start({"1": order}, options={"pid_file": str(pid_file)}, ready=False)
    run_dir = server.run_dir()
    assert server.wait_exit() == 1
    text = "worker 1 has no reason to live" if order == "fatal" else "Worker 1 could not start"
    assert f"[FTL] {text}\n" in server.log.text
    assert not Path(run_dir).exists()
    assert not pid_file.exists()
    assert "Server is ready" not in server.log.text


def test_a_worker_that_cannot_start_later_is_retried(start: Start) -> None:
    server = start({"1": "ok fatal ok"}, policy=FAST)
    mark = server.log.mark()
    os.kill(server.child(1), signal.SIGKILL)
    server.log.wait_for(r"\[ERR\] Worker 1 .* exited with code 3: worker 1 has no reason to live", since=mark)
    server.log.wait_for(r"Worker 1 \(pid \d+\) is ready", since=mark)
    server.stop(allow="")


def test_a_server_that_never_was_ready_gives_up_early(start: Start) -> None:
    server = start({"all": "crash"}, policy=FAST, ready=False)
    assert server.wait_exit() == 1
    assert "[FTL] Workers died 4 times before the server was ready, giving up" in server.log.text


def test_a_crash_loop_ends_the_server(start: Start) -> None:
    server = start({"1": "ok crash"}, policy={**FAST, "max_deaths": 4, "max_delay": 0.02})
    run_dir = server.run_dir()
    os.kill(server.child(1), signal.SIGKILL)
    assert server.wait_exit() == 1
    assert "[FTL] Worker 1 died 5 times within 60s, giving up" in server.log.text
    assert not Path(run_dir).exists()


def test_a_hung_worker_is_replaced(start: Start) -> None:
    server = start(policy=FAST)
    mark = server.log.mark()
    os.kill(server.child(1), signal.SIGSTOP)
    server.log.wait_for(r"\[ERR\] Worker 1 .* gave no sign of life for 0\.\ds: killing it", since=mark)
    server.log.wait_for(r"Worker 1 .* was killed by SIGABRT", since=mark)
    server.log.wait_for(r"Worker 1 \(pid \d+\) is ready", since=mark)
    server.stop()


def test_a_worker_whose_heart_stopped_is_replaced(start: Start) -> None:
    server = start({"1": "beatless ok"}, policy=FAST)
    server.log.wait_for(r"Worker 1 .* was killed by SIGABRT")
    server.log.wait_for(r"\[INF\] Worker 1 \(pid \d+\) is ready")
    server.stop()


def test_a_worker_that_is_never_ready_is_replaced(start: Start) -> None:
    server = start({"1": "late ok"}, policy=FAST)
    assert re.search(r"Worker 1 .* is not ready 1\.\ds after its start: killing it", server.log.text)
    server.stop()
