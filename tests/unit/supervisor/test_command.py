"""The command as a whole: what comes before there is a server."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT

PROGRAM = "spline-server"  # run as a module, it has no other name

pytestmark = pytest.mark.timeout(60)


def run(*arguments: str, closed: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; ``closed``: descriptors that its caller has closed."""
    redirections = " ".join(f"{descriptor}>&-" for descriptor in closed)
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-m", "supervisor", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{PROGRAM}: v")


def test_unknown_flag() -> None:
    done = run("--nonsense")
    assert done.returncode == 0
    assert done.stderr == "flag provided but not defined: -nonsense\n"
    assert "Usage: " in done.stdout


def test_a_good_configuration(tmp_path: Path) -> None:
    file = tmp_path / "a.conf"
    file.write_text("port: 4222\n")
    done = run("-t", "-c", str(file))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith(f"{PROGRAM}: configuration file {file} is valid (sha256:")


@pytest.mark.parametrize("test", [True, False])
def test_a_bad_configuration(tmp_path: Path, test: bool) -> None:
    file = tmp_path / "a.conf"
    file.write_text("port: 4222\nnonsense: 1\n")
    done = run("-c", str(file), *["-t"] * test)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f'{PROGRAM}: {file}:2:1: unknown field "nonsense"\n'


def test_options_that_do_not_go_together(tmp_path: Path) -> None:
    file = tmp_path / "a.conf"
    file.write_text("max_payload: 2mb\nmax_pending: 1mb\n")
    done = run("-c", str(file))
    assert done.returncode == 1
    assert done.stderr == f"{PROGRAM}: max_payload (2097152) cannot be higher than max_pending (1048576)\n"


def test_no_such_port_is_said_in_the_log() -> None:
    done = run("-p", "99999")
    assert done.returncode == 1
    assert "[INF] Starting spline-server" in done.stderr
    expected = '[FTL] Error listening on port: 0.0.0.0:99999, "listen tcp: address 99999: invalid port"\n'
    assert done.stderr.endswith(expected)


def test_closed_standard_streams() -> None:
    done = run("-p", "99999", closed=(0, 2))
    assert (done.returncode, done.stderr) == (1, "")


def test_starting_is_quick_and_small() -> None:
    """Neither asyncio nor any package that is not Python's own belongs in the supervisor."""
    code = (
        "import sys, supervisor.main, broker.options.builder\n"
        "print(sorted({'asyncio', 'uvloop', 'zmq', 'nacl', 'bcrypt', 'logging', 'ssl'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_interrupt_before_there_is_a_server(tmp_path: Path) -> None:
    """While the configuration is read (here: from a pipe without a writer) an interrupt just ends the process."""
    pipe = tmp_path / "pipe"
    subprocess.run(["mkfifo", str(pipe)], check=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "supervisor", "-c", str(pipe)], cwd=ROOT, stderr=subprocess.PIPE
    )
    with process, pipe.open("wb"):  # opens when the process has opened it
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (-signal.SIGINT, b"")
