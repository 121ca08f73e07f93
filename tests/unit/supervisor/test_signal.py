"""``--signal``: which process gets which signal, and in which words it is said that none does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.remote import COMMANDS, find_processes, send
from tests.harness import REAL, command

pytestmark = pytest.mark.timeout(60)

# Sets its name, says so, and tells which signals it gets; every other test run has other names.
PROGRAM = """
import signal, sys
from supervisor.naming import set_process_name
set_process_name(sys.argv[1])
signals = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
print("ready", flush=True)
while True:
    print(signal.sigwait(signals).name, flush=True)
"""


class Program:
    """A process that tells which signals it gets."""

    def __init__(self, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, name], stdout=subprocess.PIPE, text=True
        )
        assert self.line() == "ready"

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")


@pytest.fixture
def name() -> str:
    """A program's name that nobody else has."""
    return f"sig-{os.urandom(4).hex()}"


@pytest.fixture
def two(name: str) -> Iterator[tuple[Program, Program]]:
    """Two processes of that name."""
    programs = (Program(name), Program(name))
    yield programs
    for program in programs:
        with program.process as process:
            process.kill()


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("quit", "SIGINT"),
        ("term", "SIGTERM"),
        ("reload", "SIGHUP"),
        ("reopen", "SIGUSR1"),
        ("ldm", "SIGUSR2"),
    ],
)
def test_every_command(two: tuple[Program, Program], what: str, expected: str) -> None:
    assert send(f"{what}={two[0].pid}", "other-name") == ""
    assert two[0].line() == expected


def test_stop(two: tuple[Program, Program]) -> None:
    assert send(f"stop={two[0].pid}", "other-name") == ""
    assert two[0].process.wait(20) == -signal.SIGKILL


def test_pid_file(two: tuple[Program, Program], tmp_path: Path) -> None:
    file = tmp_path / "server.pid"
    file.write_text(f"{two[1].pid}\n")
    assert send(f"reload={file}", "other-name") == ""
    assert two[1].line() == "SIGHUP"


def test_by_name(two: tuple[Program, Program], name: str) -> None:
    pids = sorted(program.pid for program in two)
    assert find_processes(name) == pids
    assert send("reload", name) == "\n".join([f"multiple {name} processes running:", *map(str, pids)])
    assert send("reload=*", name) == ""
    assert [program.line() for program in two] == ["SIGHUP", "SIGHUP"]
    assert send(f"reload={pids[0]}*", name) == ""
    (first,) = (program for program in two if program.pid == pids[0])
    assert first.line() == "SIGHUP"
    two[0].process.kill()
    two[0].process.wait()
    assert send("ldm", name) == ""
    assert two[1].line() == "SIGUSR2"


def test_children_are_not_servers(name: str) -> None:
    """A worker that has the name of its server is not another server."""
    code = (
        f"import os, sys; os.fork() or exec({PROGRAM!r}); "
        f"from supervisor.naming import set_process_name; set_process_name(sys.argv[1]); os.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", code, name], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        found: list[int] = []
        while not found or found == [child_of(parent.pid)]:  # until the parent has its name, too
            found = find_processes(name)
        assert found == [parent.pid]
        os.kill(child_of(parent.pid), signal.SIGKILL)


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


@pytest.mark.parametrize(
    ("request_text", "expected"),
    [
        ("reload=999999999", '\nsignal "reload" 999999999: no such process'),
        ("reload=abc", "invalid pid: abc"),
        ("reload=/no/such/file", "invalid pid: /no/such/file"),
        ("nonsense=1", 'unknown signal "nonsense"'),
        ("reload=1=2", "invalid signal parameters: [2]"),
        ("reload=1=2=3", "invalid signal parameters: [2 3]"),
    ],
)
def test_mistakes_as_nats_server(request_text: str, expected: str) -> None:
    assert send(request_text, "nats-server") == expected
    done = subprocess.run(
        [*command(REAL), "--signal", request_text], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (1, f"nats-server: {expected}\n")


def test_no_process(name: str) -> None:
    assert send("reload", name) == f"no {name} processes running"
    assert send("nonsense", name) == f"no {name} processes running"


def test_every_command_has_a_signal_of_its_own() -> None:
    assert len(set(COMMANDS.values())) == len(COMMANDS) == 6


def test_the_command(two: tuple[Program, Program], tmp_path: Path) -> None:
    """From a link, which gives the program its name, to the signal."""
    script = tmp_path / "my-server"
    script.write_text("import sys\nfrom supervisor.main import main\nsys.exit(main())\n")

    def run(*arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, str(script), *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    assert run("--signal", f"reload={two[0].pid}") == (0, "", "")
    assert two[0].line() == "SIGHUP"
    assert run("-sl=what") == (1, "", "my-server: no my-server processes running\n")
