"""Starts that cannot succeed, as a user sees them: the real command, what it prints, and that nothing is left of it.

Every message names what is wrong and where; the exit code is 1 (that of a wrong flag is 0, as nats-server's). Some users are
root, who may read everything: "unreadable" is therefore a directory, and "not writable" a place that is none.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests import probe
from tests.harness import ROOT

pytestmark = pytest.mark.timeout(60)

# file name: text; "c.conf" is the one that is named on the command line
Files = dict[str, str]


class Attempt:
    """One run of the command in an empty directory, with a private place for its run directory."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="bad-"))
        self.place = self.home / "run"
        self.place.mkdir()

    def run(self, *arguments: str, preexec: Callable[[], None] | None = None) -> tuple[int, str, str]:
        """(exit code, standard output, standard error); asserts that no process and no run directory is left."""
        process = subprocess.Popen(
            [sys.executable, "-m", "supervisor", *arguments],
            cwd=self.home,
            env={**os.environ, "PYTHONPATH": str(ROOT), "RUNTIME_DIRECTORY": str(self.place)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=preexec,
        )
        try:
            output, errors = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert probe.session_members(process.pid) == []
        assert os.listdir(self.place) == []
        assert "Traceback" not in errors
        return process.returncode, output, errors

    def write(self, files: Files) -> None:
        """Make the files."""
        for name, text in files.items():
            path = self.home / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text.encode("utf-8", "surrogateescape"))


@pytest.fixture
def attempt() -> Iterator[Attempt]:
    """A place to try it in."""
    made = Attempt()
    yield made
    shutil.rmtree(made.home)


NAME: Final = "spline-server: "  # run as a module, it has no other name
PARSE: Final[dict[str, tuple[Files, str]]] = {
    "missing": ({}, "open c.conf: no such file or directory"),
    "a-directory": ({"c.conf/x": ""}, "read c.conf: is a directory"),
    "malformed": (
        {"c.conf": "port: 4222\nauthorization {\n  user: a\n"},
        "Parse error on line 4: 'Unexpected EOF processing map.'",
    ),
    "malformed-middle": (
        {"c.conf": "port: 4222 host: here\n"},
        "Parse error on line 1: 'Expected a top-level value to end with a new line, comment or EOF, but got 'h' instead.'",
    ),
    "binary": ({"c.conf": "\udcff\udcfe\0\0"}, "config is invalid (c.conf:1:2)"),
    "unknown-key": ({"c.conf": "port: 4222\n\n  prot: 4222\n"}, 'c.conf:3:3: unknown field "prot"'),
    "unknown-key-inside": (
        {"c.conf": "authorization {\n  user: a\n  passwort: b\n}\n"},
        'c.conf:3:3: unknown field "passwort"',
    ),
    "wrong-type": (
        {"c.conf": "port: many\n"},
        "c.conf:1:0: interface conversion: interface {} is string, not int64",
    ),
    "bad-value": ({"c.conf": "max_payload: 5gb\n"}, "c.conf:1:0: max_payload value is too big"),
    "bad-duration": (
        {"c.conf": "ping_interval: 'soon'\n"},
        'c.conf:1:0: error parsing ping_interval: time: invalid duration "soon"',
    ),
    "bad-address": ({"c.conf": "listen: here\n"}, 'c.conf:1:0: could not parse address string "here"'),
    "no-such-variable": (
        {"c.conf": "\nport: $NO_SUCH_PORT\n"},
        "variable reference for 'NO_SUCH_PORT' on line 2 can not be found",
    ),
    "missing-include": (
        {"c.conf": "include 'users.conf'\n"},
        "error parsing include file 'users.conf', open users.conf: no such file or directory",
    ),
    "mistake-in-an-include": (
        {"c.conf": "include sub/a.conf\n", "sub/a.conf": "\nnonsense: 1\n"},
        'sub/a.conf:2:1: unknown field "nonsense"',
    ),
    "include-loop": (
        {"c.conf": "include a.conf\n", "a.conf": "include b.conf\n", "b.conf": "include a.conf\n"},
        "include cycle",
    ),
    "include-of-itself": ({"c.conf": "include c.conf\n"}, "include cycle"),
    "bad-nkey": (
        {"c.conf": "authorization {\n  users: [ {nkey: UABC} ]\n}\n"},
        "c.conf:2:13: Not a valid public nkey for a user",
    ),
    "bad-subject": (
        {
            "c.conf": "authorization { users: [ {user: a, password: b, permissions: {publish: {allow: 'a..b'}}} ] }\n"
        },
        'subject "a..b" is not a valid subject',
    ),
}


@pytest.mark.parametrize("test", [False, True], ids=["start", "test"])
@pytest.mark.parametrize("case", PARSE)
def test_bad_configuration(attempt: Attempt, case: str, test: bool) -> None:
    files, expected = PARSE[case]
    attempt.write(files)
    code, output, errors = attempt.run("-c", "c.conf", *["-t"] * test)
    assert (code, output) == (1, "")
    assert errors.startswith(NAME) and errors.endswith("\n")
    assert expected in errors
    assert errors.count("\n") == 1


def test_every_mistake_is_named_at_once(attempt: Attempt) -> None:
    attempt.write({"c.conf": "ping_interval: 10\nprot: 1\nmax_payload: x\nauthorization: yes\n"})
    code, _, errors = attempt.run("-c", "c.conf")
    assert code == 1
    first, *rest = errors.removeprefix(NAME).splitlines()
    assert first.startswith('c.conf:1:0: invalid use of field "ping_interval"')
    assert [line.partition(" ")[0] for line in rest] == ["c.conf:2:1:", "c.conf:3:1:", "c.conf:4:1:"]


TOGETHER: Final = {
    "payload": (
        "max_payload: 2mb\nmax_pending: 1mb\n",
        "max_payload (2097152) cannot be higher than max_pending (1048576)",
    ),
    "unsupported": ("jetstream: enabled\n", "not supported yet: jetstream"),
    "no-auth-user": (
        "no_auth_user: x\n",
        'no_auth_user: "x" present, but users/nkeys are not defined',
    ),
    "no-auth-user-unknown": (
        "no_auth_user: x\nauthorization { users: [ {user: a, password: b} ] }\n",
        'no_auth_user: "x" not present as user or nkey in authorization block or account configuration',
    ),
}


@pytest.mark.parametrize("case", TOGETHER)
def test_options_that_do_not_go_together(attempt: Attempt, case: str) -> None:
    text, expected = TOGETHER[case]
    attempt.write({"c.conf": text})
    assert attempt.run("-c", "c.conf") == (1, "", f"{NAME}{expected}\n")


FLAGS: Final = {
    "unknown": (["--nonsense"], "flag provided but not defined: -nonsense"),
    "no-number": (["-p", "x"], 'invalid value "x" for flag -p: parse error'),
    "no-argument": (["-c"], "flag needs an argument: -c"),
}


@pytest.mark.parametrize("case", FLAGS)
def test_wrong_flags(attempt: Attempt, case: str) -> None:
    arguments, expected = FLAGS[case]
    code, output, errors = attempt.run(*arguments)
    assert errors == f"{expected}\n"
    assert "Usage: " in output
    assert code == 0  # nats-server's own


def test_flag_not_supported_yet(attempt: Attempt) -> None:
    code, _, errors = attempt.run("--cluster", "nats://127.0.0.1:1")
    assert code != 0
    assert "cluster" in errors and "not supported yet" in errors


def fatal(attempt: Attempt, *arguments: str, preexec: Callable[[], None] | None = None) -> str:
    """The text of the FTL line of a start that fails after the banner."""
    code, output, errors = attempt.run(*arguments, preexec=preexec)
    assert (code, output) == (1, "")
    assert "Server is ready" not in errors
    lines = re.findall(r"^\[\d+\] \S+ \S+ \[FTL\] (.*)$", errors, re.MULTILINE)
    assert len(lines) == 1 and errors.endswith(f"{lines[0]}\n"), errors
    return str(lines[0])


def test_port_in_use(attempt: Attempt) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        text = fatal(attempt, "-a", "127.0.0.1", "-p", address.rpartition(":")[2])
    assert text == f'Error listening on port: {address}, "listen tcp {address}: bind: address already in use"'


def test_no_such_host(attempt: Attempt) -> None:
    text = fatal(attempt, "-a", "no.such.host.invalid", "-p", "4222")
    assert text.startswith("Error listening on port: no.such.host.invalid:4222, ")
    assert "no such host" in text


def test_pid_file_not_writable(attempt: Attempt) -> None:
    for path, why in (("none/pid", "no such file or directory"), ("run", "is a directory")):
        text = fatal(attempt, "-a", "127.0.0.1", "-p", "-1", "-P", path)
        assert text == f"Could not write pidfile: open {path}: {why}"


@pytest.mark.parametrize("most", [12, 20, 40])
def test_too_few_descriptors(attempt: Attempt, most: int) -> None:
    attempt.write({"c.conf": "host: 127.0.0.1\nport: -1\nworkers: 4\n"})
    text = fatal(
        attempt, "-c", "c.conf", preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    )
    assert text.startswith(
        f"Too few file descriptors: a process may open {most} (ulimit -Hn), but each of 4 workers "
    )
