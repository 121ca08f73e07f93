"""The command line: every flag of nats-server with its aliases, and which of two settings wins."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from broker.options import Secret, load, parse_command_line
from broker.options.command_line import program_name
from broker.options.secret import Url
from broker.options.usage import TLS_HELP
from tests.harness import REAL, command

from .conftest import LoadText

VECTORS = Path(__file__).parent / "vectors"

# Flags, each spelling of one setting, to the options that they set.
FLAGS: dict[tuple[str, ...], dict[str, object]] = {
    ("-a h", "--addr h", "--net h", "-addr=h", "--a=h"): {"host": "h"},
    ("-p 1", "--port 1", "-port=1", "-p=0x1"): {"port": 1},
    ("-n x", "--name x", "--server_name x"): {"server_name": "x"},
    ("-P f", "--pid f"): {"pid_file": "f"},
    ("-m 1", "--http_port 1"): {"http_port": 1},
    ("-ms 1", "--https_port 1"): {"https_port": 1},
    ("--client_advertise h:1",): {"client_advertise": "h:1"},
    ("--ports_file_dir d",): {"ports_file_dir": "d"},
    ("-l f", "--log f"): {"log_file": "f"},
    ("-T=false", "--logtime=false", "-T=f", "-T=0"): {"logtime": False},
    ("-T", "--logtime", "-logtime=T"): {"logtime": True},
    ("--logtime_utc",): {"logtime_utc": True},
    ("-s", "--syslog"): {"syslog": True},
    ("-r udp://h:1", "--remote_syslog udp://h:1"): {"remote_syslog": "udp://h:1"},
    ("-D", "--debug"): {"debug": True},
    ("-V", "--trace"): {"trace": True},
    ("-VV",): {"trace": True, "trace_verbose": True, "debug": False},
    ("-DV",): {"trace": True, "trace_verbose": False, "debug": True},
    ("-DVV",): {"trace": True, "trace_verbose": True, "debug": True},
    ("--log_size_limit 5",): {"log_size_limit": 5},
    ("--max_traced_msg_len 5",): {"max_traced_msg_len": 5},
    ("--user u",): {"username": "u"},
    ("--pass p",): {"password": Secret("p")},
    ("--auth t",): {"token": Secret("t")},
    ("--profile 5",): {"prof_port": 5},
    ("-js", "--jetstream"): {"foreign": ["jetstream"]},
    ("-sd d", "--store_dir d"): {"foreign": []},
    ("--workers 3",): {"workers": 3},
    ("--log_format json",): {"log_format": "json"},
    ("--tls=false",): {"tls": None},
}


@pytest.mark.parametrize("spelling", [spelling for spellings in FLAGS for spelling in spellings])
def test_flag(spelling: str) -> None:
    (expected,) = (options for spellings, options in FLAGS.items() if spelling in spellings)
    assert flags(spelling, expected) == expected


def flags(line: str, fields: Any = ()) -> dict[str, object]:
    """What a command line sets of these options."""
    loaded = load(parse_command_line(line.split()))
    assert (loaded.errors, loaded.warnings) == ([], [])
    return {field: getattr(loaded.options, field) for field in fields}


def test_cluster_flags() -> None:
    line = "--cluster nats://u:p@h:6222 --cluster_name c --cluster_advertise a:1 --no_advertise --connect_retries 3"
    (cluster,) = flags(f"{line} --routes nats://a:1,nats://b:2", ["cluster"]).values()
    assert cluster.host == "h"  # type: ignore[attr-defined]
    text = repr(cluster)
    assert "port=6222, username='u', password=[REDACTED]" in text
    assert "name='c'" in text and "advertise='a:1', no_advertise=True, connect_retries=3" in text
    assert cluster.routes == [Url("nats", "a", 1), Url("nats", "b", 2)]  # type: ignore[attr-defined]
    (cluster,) = flags("--cluster_listen nats://h:-1", ["cluster"]).values()
    assert cluster.port == -1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--routes nats://a:1", "solicited routes require cluster capabilities, e.g. --cluster"),
        ("--cluster nats://u@h:1", "expected cluster password to be set"),
        ("--tls", "TLS Server certificate must be present and valid"),
        ("--tlscert a", "TLS Server private key must be present and valid"),
        ("--tlsverify --tlscert a --tlskey b", "error parsing X509 certificate/key pair: open a: "),
    ],
)
def test_flags_that_do_not_go_together(line: str, expected: str) -> None:
    (error,) = load(parse_command_line(line.split())).errors
    assert error.startswith(expected)
    done = subprocess.run(
        [*command(REAL), *line.split()], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr.removeprefix("nats-server: ").rstrip("\n")) == (1, error)


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("port: 1", "-p 2", {"port": 2}),
        ("debug: true", "-D=false", {"debug": False}),
        ("debug: true\ntrace: true", "-DV=false", {"debug": False, "trace": False}),
        ("trace: true", "-D", {"debug": True, "trace": True}),
        ("logtime: false", "", {"logtime": False}),
        ("logtime: false", "-T", {"logtime": True}),
        ("http: 1\nlog_file: a", "-m 2 -l b", {"http_port": 2, "log_file": "b"}),
        ("authorization { user: a, password: b }", "--pass c", {"username": "a", "password": Secret("c")}),
        ("jetstream: enabled", "-js=false", {"foreign": []}),
        ("cluster { name: a, port: 1 }", "--cluster_name b", {}),
    ],
)
def test_flag_beats_file(load_text: LoadText, text: str, line: str, expected: dict[str, object]) -> None:
    loaded = load_text(text, *line.split())
    assert loaded.errors == []
    assert {field: getattr(loaded.options, field) for field in expected} == expected


def test_tls_flags_replace_certificates_only(load_text: LoadText, tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        shutil.copy(VECTORS / name, tmp_path)
    text = "tls { timeout: 7, handshake_first: true, min_version: '1.3', verify_and_map: true }"
    loaded = load_text(text, *"--tlscert cert.pem --tlskey key.pem --tlsverify --tlscacert cert.pem".split())
    assert loaded.errors == []
    tls = loaded.options.tls
    assert tls is not None
    assert (tls.cert_file, tls.key_file, tls.ca_file) == ("cert.pem", "key.pem", "cert.pem")
    assert (tls.timeout, tls.handshake_first, tls.verify, tls.verify_and_map) == (7.0, True, True, True)
    assert load_text(text, "--tls=false").options.tls is None


def test_a_test_is_one_of_the_file(load_text: LoadText) -> None:
    """Flags have no part in it, not even wrong ones."""
    assert load_text("port: 1", "-t", "-p", "2", "--tls").options.port == 1


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        ("--nonsense", 0, "flag provided but not defined: -nonsense"),
        ("-p", 0, "flag needs an argument: -p"),
        ("-p x", 0, 'invalid value "x" for flag -p: parse error'),
        (
            "-p 99999999999999999999",
            0,
            'invalid value "99999999999999999999" for flag -p: value out of range',
        ),
        ("-D=maybe", 0, 'invalid boolean value "maybe" for -D: parse error'),
        ("---p 1", 0, "bad flag syntax: ---p"),
        ("-=1", 0, "bad flag syntax: -=1"),
        ("start", 1, '{}: unrecognized command: "start"'),
        ("-- -p", 1, '{}: unrecognized command: "-p"'),
        ("-t", 1, "{}: must specify [-c, --config] option to check configuration file syntax"),
    ],
)
def test_mistakes_as_nats_server(line: str, code: int, text: str) -> None:
    ours = parse_command_line(line.split())
    assert (ours.action, ours.exit_code, ours.text) == ("error", code, text.replace("{}", program_name()))
    assert bool(ours.usage) == (code == 0)
    done = subprocess.run(
        [*command(REAL), *line.split()], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr.rstrip("\n")) == (code, text.replace("{}", "nats-server"))
    assert ("Usage: nats-server" in done.stdout) == (code == 0)


def test_help_knows_every_flag_of_nats_server() -> None:
    done = subprocess.run([*command(REAL), "-h"], capture_output=True, text=True, timeout=30, check=True)
    theirs = set(re.findall(r"(?<![\w-])(-{1,2}[a-zA-Z]\w*)", done.stdout))
    assert len(theirs) > 50
    usage = parse_command_line(["--help"]).text
    ours = set(re.findall(r"(?<![\w-])(-{1,2}[a-zA-Z]\w*)", usage))
    assert theirs <= ours
    assert {"--workers", "--log_format"} <= ours
    for flag in ours:
        assert "not defined" not in parse_command_line([flag]).text


@pytest.mark.parametrize("line", ["-h", "--help", "help", "HELP", "-h -v=false -p 1"])
def test_help(line: str) -> None:
    done = parse_command_line(line.split())
    assert (done.action, done.exit_code) == ("help", 0)
    assert done.text.startswith(f"\nUsage: {program_name()} [options]\n")


@pytest.mark.parametrize("line", ["-v", "--version", "version", "-v help"])
def test_version(line: str) -> None:
    done = parse_command_line(line.split())
    assert (done.action, done.exit_code) == ("version", 0)
    assert re.fullmatch(rf"{program_name()}: v\d+\.\d+\.\d+", done.text)


def test_help_tls() -> None:
    assert parse_command_line(["--help_tls"]).text == TLS_HELP


@pytest.mark.parametrize(
    "line", ["--signal reload", "-sl reload", "--sl=reload", "-signal=reload -c none.conf"]
)
def test_signal(line: str) -> None:
    done = parse_command_line(line.split())
    assert (done.action, done.signal) == ("signal", "reload")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/usr/bin/nats-server", "nats-server"),
        ("spline-server", "spline-server"),
        ("/x/supervisor/__main__.py", "spline-server"),
        ("-m", "spline-server"),
        ("", "spline-server"),
    ],
)
def test_program_name(monkeypatch: pytest.MonkeyPatch, path: str, name: str) -> None:
    monkeypatch.setattr("sys.argv", [path])
    assert program_name() == name
    assert parse_command_line(["x"]).text == f'{name}: unrecognized command: "x"'
