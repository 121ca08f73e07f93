"""``spline check``: what an operator sees of a configuration's mistakes, its effective form, and its differences."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.toolbox import main
from tests.harness import ONE, Server, launch

pytestmark = pytest.mark.timeout(90)

GOOD = "port: 4333\nauthorization { users: [ { user: a, password: hidden } ] }\nmax_payload: 2MB\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(capsys: pytest.CaptureFixture[str], text: str, *arguments: str) -> tuple[int, str, list[str]]:
    """(exit code, standard output, lines of standard error) of a check of this text."""
    Path("c.conf").write_text(text)
    code = main(["check", "c.conf", *arguments])
    out, err = capsys.readouterr()
    return code, out, err.splitlines()


def test_good(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = check(capsys, GOOD)
    assert (code, err) == (0, [])
    assert out.startswith("c.conf is valid (sha256:")


def test_all_mistakes_in_order_with_hints(capsys: pytest.CaptureFixture[str]) -> None:
    Path("users.conf").write_text("users: [\n  { usr: a, password: b }\n]\n")
    text = """
        max_payload: "5MB"
        prot: 4222
        authorization { include users.conf
          tokn: x }
        ping_interval: 10
        cluster { lisen: 6222, authorization { token: x } }
        tls { cert_fil: a }
        zzzzzz: 1
        accounts { A { export: [], users: [ { user: b, permission { publish: "a..b", subscrbe: c } } ] } }
    """
    code, out, err = check(capsys, text)
    assert (code, out) == (1, "")
    assert err == [
        "c.conf:2:9: a whole number is expected, not a string (write it without quotes)",
        'c.conf:3:9: unknown field "prot" (did you mean "port"?)',
        'c.conf:5:11: unknown field "tokn" (did you mean "token"?)',
        'c.conf:6:9: warning: invalid use of field "ping_interval": ping_interval should be converted to a duration',
        'c.conf:7:19: unknown field "lisen" (did you mean "listen"?)',
        "c.conf:7:32: Cluster authorization does not support tokens",
        'c.conf:8:15: error parsing tls config, unknown field "cert_fil" (did you mean "cert_file"?)',
        'c.conf:9:9: unknown field "zzzzzz"',
        'c.conf:10:24: unknown field "export" (did you mean "exports"?)',
        # nats-server has no place for this one:
        'c.conf:10:69: subject "a..b" is not a valid subject',
        'c.conf:10:86: Unknown field "subscrbe" parsing permissions (did you mean "subscribe"?)',
        'users.conf:2:5: unknown field "usr" (did you mean "user"?)',
        "users.conf:2:13: User entry requires a user",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "port: 1\nusers: [",
            '2:8: Expected an array value terminator "," or an array terminator "]", but got \'\\0\'',
        ),
        (
            "port: 1\n  host: a b",
            "2:11: Expected a top-level value to end with a new line, comment or EOF, but got 'b'",
        ),
        ("port: $NO_SUCH_PORT", "1:7: variable reference for 'NO_SUCH_PORT' on line 1 can not be found"),
        ("\nport: 99999999999999999999\n", "2:7: integer '99999999999999999999' is out of the range"),
        ("include none.conf", "1:8: error parsing include file 'none.conf', open none.conf: no such file"),
        ("\nport", "2:5: config is invalid (c.conf:2:5)"),
    ],
)
def test_syntax(capsys: pytest.CaptureFixture[str], text: str, expected: str) -> None:
    code, out, err = check(capsys, text)
    assert (code, out, len(err)) == (1, "", 1)
    assert err[0].startswith(f"c.conf:{expected}")


def test_syntax_of_an_included_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("one.conf").write_text("a: 1\nb: .5\n")
    assert check(capsys, "port: 1\ninclude one.conf\n")[2] == ["one.conf:2:4: Floats must start with a digit"]


def test_what_prevents_a_start(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = check(capsys, "jetstream: enabled\nmax_pending: 1kb\nprof_port: 1\n")
    assert code == 1
    assert err == [
        "c.conf: max_payload (1048576) cannot be higher than max_pending (1024)",
        "c.conf: not supported yet: jetstream",
        "c.conf: warning: Profiling options are ignored: there is no Go runtime to profile",
    ]


def test_effective(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = check(capsys, GOOD, "--effective")
    assert (code, err) == (0, [])
    assert out.startswith("# c.conf (sha256:")
    assert "port: 4333\n" in out and "max_payload: 2097152\n" in out and 'ping_interval: "2m0s"\n' in out
    assert "hidden" not in out and 'password: "[REDACTED]"' in out
    Path("again.conf").write_text(out)
    assert main(["check", "again.conf"]) == 0


def test_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "none.conf"]) == 1
    assert capsys.readouterr().err == "none.conf: open none.conf: no such file or directory\n"


# -- against a running server -----------------------------------------------------------------------------------------


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    """A server with a configuration file and a flag."""
    (folder / "server.conf").write_text(f"listen: '127.0.0.1:-1'\n{GOOD.replace('port: 4333', '')}")
    running = launch(ONE, ["-c", str(folder / "server.conf"), "--workers", "1", "-D", "--auth", "t"])
    try:
        yield running.wait_ready()
        running.stop()
    finally:
        running.destroy()


def test_plan(server: Server, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "server.conf"

    def plan() -> tuple[int, list[str], list[str]]:
        code = main(["check", "server.conf", "--plan", str(server.pid)])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    assert plan() == (0, ["nothing would change"], [])
    # The file that the server has read is changed: what counts is what runs.
    text = file.read_text()
    file.write_text(f"{text.replace('hidden', 'other')}debug: false\nserver_tags: x\n")
    assert plan() == (0, ["would reload: tags", "would reload: authorization users"], [])
    file.write_text(f"{text}max_pending: 128MB\nmax_control_line: 8kb\n")
    assert plan() == (
        1,
        [
            "would reload: max_control_line = 8192",
            "config reload not supported for MaxPending: old=67108864, new=134217728",
        ],
        [],
    )
    file.write_text(f"{text}max_pendin: 128MB\n")
    code, out, err = plan()
    assert (code, out, len(err)) == (1, [], 1)
    assert 'unknown field "max_pendin" (did you mean "max_pending"?)' in err[0]


def start_silent(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A process with a server's command line, and nothing else of one."""
    (folder / "server").write_text("import time; print(flush=True); time.sleep(60)")
    process = subprocess.Popen(
        [sys.executable, "server", *arguments], cwd=folder, stdout=subprocess.PIPE, bufsize=0
    )
    assert process.stdout is not None
    assert process.stdout.read(1) == b"\n"  # before it runs, it has no command line
    return process


def test_plan_of_no_server(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "c.conf").write_text("port: 1\n")
    sleeper = start_silent(folder)
    try:
        assert main(["check", "c.conf", "--plan", str(sleeper.pid)]) == 1
    finally:
        sleeper.kill()
        sleeper.communicate()
    assert capsys.readouterr().err == (
        f"spline: process {sleeper.pid} does not show what it runs, and has no configuration file\n"
    )
    assert main(["check", "c.conf", "--plan", str(sleeper.pid)]) == 1
    assert capsys.readouterr().err.startswith(f"spline: no process {sleeper.pid} can be looked into: ")


def test_plan_without_live_options(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that shows nothing is compared by its file, and that is said."""
    (folder / "old.conf").write_text("port: 1\n")
    (folder / "new.conf").write_text("port: 1\ndebug: true\n")
    process = start_silent(folder, "-c", "old.conf")
    try:
        code = main(["check", "new.conf", "--plan", str(process.pid)])
    finally:
        process.kill()
        process.communicate()
    out, err = capsys.readouterr()
    assert (code, out) == (0, "would reload: debug = true\n")
    assert err == f"process {process.pid} does not show what it runs: compared with old.conf as it is now\n"
