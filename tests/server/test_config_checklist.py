"""Configuration, command line and signals, line by line of the conformance checklist, against nats-server, too.

Every test names its lines; ``ELSEWHERE`` says of the other ones where they are tested.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.harness import ONE, REAL, Kind, Raw, Server, command, launch

pytestmark = pytest.mark.timeout(90)

LINES: Final = 60
ELSEWHERE: Final = {
    33: "the half about a reload: tests of reload",
    39: "tests of reload",
    40: "tests of reload",
    41: "tests of reload",
    42: "tests of log files",
    48: "tests of log files",
    50: "tests of the log",
    51: "tests of traces",
    52: "tests of reload",
    53: "tests of reload",
    60: "tests of reload",
}

Test = Callable[..., None]
_tested: set[int] = set()


def lines(*numbers: int) -> Callable[[Test], Test]:
    """Marks a test as the one of these lines of the checklist."""
    _tested.update(numbers)
    return lambda test: test


def test_every_line_is_tested_or_said_to_be_elsewhere() -> None:
    assert _tested | set(ELSEWHERE) == set(range(1, LINES + 1))


@pytest.fixture(params=[ONE, REAL], ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The server under test."""
    chosen: Kind = request.param
    return chosen


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(kind: Kind, *arguments: str) -> tuple[int, str, str]:
    """(exit code, standard output, standard error without the program's name) of a run to the end."""
    done = subprocess.run(
        [*command(kind), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, re.sub(r"\A(nats|spline)-server: ", "", done.stderr)


def verdict(kind: Kind, text: str) -> str:
    """What is wrong with a file; empty if nothing is."""
    Path("c.conf").write_text(text)
    code, out, err = run(kind, "-t", "-c", "c.conf")
    assert out == ""
    good = re.fullmatch(r"configuration file c\.conf is valid \(sha256:[0-9a-f]{64}\)\n", err) is not None
    assert code == (0 if good else 1)
    return "" if good else err.strip("\n")


@contextmanager
def running(kind: Kind, text: str = "", *flags: str, allow: str = "") -> Iterator[Server]:
    """A server with this configuration file on a free port of the loopback interface."""
    Path("c.conf").write_text(text)
    workers = [] if kind.real else ["--workers", "1"]
    server = launch(
        kind, ["-c", str(Path("c.conf").resolve()), "-a", "127.0.0.1", "-p", "-1", *workers, *flags]
    )
    try:
        yield server.wait_ready()
        server.stop(allow=allow)
    finally:
        server.destroy()


def info(kind: Kind, text: str) -> dict[str, Any]:
    """INFO of a server with this configuration file."""
    with running(kind, text) as server:
        client = Raw(server.port)
        client.close()
        return client.info


def failure(kind: Kind, text: str, *flags: str) -> str:
    """Why a server does not start with this file."""
    Path("c.conf").write_text(text)
    workers = [] if kind.real else ["--workers", "1"]
    code, out, err = run(kind, "-c", "c.conf", *workers, *flags)
    assert (code, out) == (1, "")
    return err.rstrip("\n")


# -- the language ------------------------------------------------------------------------------------------------------


@lines(1, 7, 12)
@pytest.mark.parametrize(
    ("text", "payload"),
    [
        ('{"max_payload": 5000, "port": 4222}', 5000),
        ("max_payload: 1k", 1000),
        ("max_payload: 1kb", 1024),
        ("max_payload: 1MiB", 1048576),
        ("max_payload: 2m", 2_000_000),
    ],
)
def test_numbers(kind: Kind, text: str, payload: int) -> None:
    assert info(kind, text)["max_payload"] == payload


@lines(2, 3, 4, 6, 8, 29)
def test_separators_comments_and_keys(kind: Kind) -> None:
    text = """
        # a comment
        MAX_PAYLOAD = 5000; Server_Name: a  // another one
        max_control_line 2000, no_header_support: yes # and one more
        server_name: b
        server_name: c
        // the end
        disable_sublist_cache: TRUE
        no_fast_producer_stall on
    """
    got = info(kind, text.replace("Server_Name", "server_name"))
    assert (got["max_payload"], got["server_name"], got["headers"]) == (5000, "c", False)
    assert verdict(kind, text) == ""


@lines(5, 9, 10, 15, 19, 21, 22, 23, 24, 25, 26)
@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("cluster={port: 1}", ""),
        ("cluster{ port: 1 }", "Parse error on line 1: "),
        ('debug: "true"', "c.conf:1:0: interface conversion: interface {} is string, not bool"),
        ("write_deadline: 10s", ""),
        ("write_deadline: 1m30s", "Parse error on line 1: "),
        ("\nport: $NO_SUCH_VARIABLE", "variable reference for 'NO_SUCH_VARIABLE' on line 2 can not be found"),
        (
            "include none.conf",
            "error parsing include file 'none.conf', open none.conf: no such file or directory",
        ),
        ("authorization { users: [ { user: a, }, ], }", ""),
        ('\nserver_name: "a', "Parse error on line 2: "),
        ("authorization {\n user: a\n", "Parse error on line 3: "),
        ("prot: 4222", 'c.conf:1:0: unknown field "prot"'),
        ("authorization {\n  usr: a\n}", 'c.conf:2:3: unknown field "usr"'),
        ("size: 5\nother: 6\nmax_payload: $size", 'c.conf:2:1: unknown field "other"'),
    ],
)
def test_verdicts(kind: Kind, text: str, wrong: str) -> None:
    found = verdict(kind, text)
    assert found.startswith(wrong) and bool(found) == bool(wrong)


@lines(24)
def test_every_mistake_is_told(kind: Kind) -> None:
    found = verdict(kind, "one: 1\n two: 2\nport: x\nauthorization { three: 3 }\n")
    assert sorted(found.split("\n")) == [
        'c.conf:1:0: unknown field "one"',
        'c.conf:2:2: unknown field "two"',
        "c.conf:3:1: interface conversion: interface {} is string, not int64",
        'c.conf:4:17: unknown field "three"',
    ]


@lines(11)
def test_seconds_are_warned_about(kind: Kind) -> None:
    warning = 'invalid use of field "ping_interval": ping_interval should be converted to a duration'
    assert verdict(kind, "ping_interval: 10") == f"c.conf:1:0: {warning}"
    with running(kind, "ping_interval: 10") as server:
        assert warning in server.log.text


@lines(13, 16, 17, 20)
def test_variables_and_passwords(kind: Kind) -> None:
    text = """
        secret: outer
        server_name: $secret
        authorization {
          secret: inner
          users: [
            { user: a, password: $secret }
            { user: b, password: "$secret" }
            { user: c, password: $2a$04$nR.Tgx8cFj/JWE9pNuwVWuOSshTOJ7DFnOGXjyKJrECiqjCJ7l/t2 }
          ]
        }
    """
    with running(kind, text, allow=r"authentication error - User \"a\"") as server:
        for user, password in (("a", "inner"), ("b", "$secret"), ("c", "secret")):
            client = Raw(server.port)
            assert client.info["server_name"] == "outer"
            client.hello(user=user, **{"pass": password}).leave()
        client = Raw(server.port).send_connect(user="a", **{"pass": "outer"})
        client.expect_eof(b"-ERR 'Authorization Violation'\r\n")
        client.close()


@lines(14)
def test_environment(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECK_SIZE", "5000")
    monkeypatch.setenv("CHECK_NAME", "hello")
    got = info(kind, "max_payload: $CHECK_SIZE\nserver_name: $CHECK_NAME\n")
    assert (got["max_payload"], got["server_name"]) == (5000, "hello")


@lines(18)
def test_include(kind: Kind, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub/one.conf").write_text("include 'two.conf'\n")
    (folder / "sub/two.conf").write_text("max_payload: 5000\n")
    assert info(kind, "include ./sub/one.conf\n")["max_payload"] == 5000


@lines(27, 28)
@pytest.mark.parametrize(
    ("written", "meant"), [(r'"a\x41\"b"', 'aA"b'), (r"'a\x41'", r"a\x41"), ("(\nab\n)\n", "\nab\n")]
)
def test_strings(kind: Kind, written: str, meant: str) -> None:
    assert info(kind, f"server_name: {written}\n")["server_name"] == meant


# -- the command line --------------------------------------------------------------------------------------------------


@lines(30, 31, 32)
def test_testing_a_file(kind: Kind) -> None:
    assert verdict(kind, "port: 4222") == ""
    wanted = "must specify [-c, --config] option to check configuration file syntax\n"
    assert run(kind, "-t") == (1, "", wanted)
    for flags in (["-t"], []):
        missing = (1, "", "open none.conf: no such file or directory\n")
        assert run(kind, "-c", "none.conf", *flags) == missing


@lines(33, 34)
def test_flag_beats_file(kind: Kind) -> None:
    with running(kind, "debug: true\nserver_name: a\n", "-n", "b") as server:
        assert Raw(server.port).info["server_name"] == "b"
        server.log.wait_for(r"\[DBG\] .*Client connection created")
    with running(kind, "debug: true\n", "-D=false") as server:
        Raw(server.port).hello().leave()
        assert "[DBG]" not in server.log.text


@lines(35, 36)
def test_commands(kind: Kind) -> None:
    for arguments in (["--version"], ["version"]):
        code, out, err = run(kind, *arguments)
        assert (code, err) == (0, "")
        assert re.fullmatch(r"(nats|spline)-server: v\d+\.\d+\.\d+\n", out)
    assert run(kind, "start") == (1, "", 'unrecognized command: "start"\n')


# -- signals, files, the log -------------------------------------------------------------------------------------------


@lines(37, 38, 45, 46)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_whole_life(kind: Kind, number: signal.Signals) -> None:
    with running(kind) as server:
        socket.create_connection(("127.0.0.1", server.port), 10).close()
        server.process.send_signal(number)
        assert server.wait_exit() == 0
    assert server.log.text.count("Server is ready") == 1
    assert server.log.text.count(f"Listening for client connections on 127.0.0.1:{server.port}\n") == 1


@lines(43, 44)
def test_files(kind: Kind, folder: Path) -> None:
    (folder / "ports").mkdir()
    with running(kind, f'pid_file: "{folder}/pid"\nports_file_dir: "{folder}/ports"\n') as server:
        assert (folder / "pid").read_text() == str(server.pid)
        program = "nats-server" if kind.real else "spline-server"
        file = folder / "ports" / f"{program}_{server.pid}.ports"
        wait_until(lambda: file.exists() and bool(file.read_text()))
        assert json.loads(file.read_text()) == {"nats": [f"nats://127.0.0.1:{server.port}"]}
    assert list((folder / "ports").iterdir()) == []
    assert (folder / "pid").exists()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that nothing tells of (the test's own timeout ends it)."""
    from time import sleep

    while not condition():
        sleep(0.01)


@lines(47)
def test_port_in_use(kind: Kind) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        last = failure(kind, f'listen: "{address}"\n').split("\n")[-1]
    wanted = f'[FTL] Error listening on port: {address}, "listen tcp {address}: bind: address already in use"'
    assert last.endswith(wanted)


@lines(49)
def test_no_timestamps(kind: Kind) -> None:
    with running(kind, "", "-T=false") as server:
        assert f"\n[{server.pid}] [INF] Server is ready\n" in server.log.text


@lines(54, 55, 56)
@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("max_payload: 65mb", "max_payload (68157440) cannot be higher than max_pending (67108864)"),
        (
            'lame_duck_duration: "10s"',
            "c.conf:1:0: invalid lame_duck_duration of 10s, minimum is 30 seconds",
        ),
        (
            'lame_duck_duration: "30s"\nlame_duck_grace_period: "1m"',
            "lame duck grace period (1m0s) should be strictly lower than lame duck duration (30s)",
        ),
        (
            "authorization { users: [ { user: a } ] }\nno_auth_user: x",
            'no_auth_user: "x" not present as user or nkey in authorization block or account configuration',
        ),
    ],
)
def test_refused_at_start(kind: Kind, text: str, wrong: str) -> None:
    assert failure(kind, text) == wrong


@lines(57, 58)
@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("http_port: 8222\nhttps_port: 8223", "can't specify both HTTP (8222) and HTTPs (8223) ports"),
        ("https_port: 8223", "TLS cert and key required for HTTPS"),
    ],
)
def test_monitoring_refused(kind: Kind, text: str, wrong: str) -> None:
    last = failure(kind, f"listen: '127.0.0.1:-1'\n{text}").split("\n")[-1]
    assert last.endswith(f"[FTL] Can't start monitoring: {wrong}")


@lines(59)
def test_signal_by_pid_file(kind: Kind, folder: Path) -> None:
    with running(kind, "", "-P", str(folder / "pid"), allow="Failed to reload") as server:
        assert run(kind, "--signal", f"reload={folder / 'pid'}") == (0, "", "")
        server.log.wait_for(r'Trapped "hangup" signal')
