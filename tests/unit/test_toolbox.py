"""The operator's toolbox, called as the console command calls it."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from broker.auth import nkeys
from broker.auth.nkeys import Prefix
from broker.auth.passwords import is_bcrypt, verify_bcrypt
from supervisor.toolbox import main

ROOT = Path(__file__).parents[2]


class Input(io.TextIOWrapper):
    """Standard input that holds some bytes."""

    def __init__(self, data: bytes, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("argument", "prefix"),
    [
        (None, Prefix.USER),
        ("--user", Prefix.USER),
        ("--account", Prefix.ACCOUNT),
        ("--operator", Prefix.OPERATOR),
        ("--server", Prefix.SERVER),
        ("--cluster", Prefix.CLUSTER),
        ("--curve", Prefix.CURVE),
    ],
)
def test_nkey_makes_a_pair(capsys: pytest.CaptureFixture[str], argument: str | None, prefix: Prefix) -> None:
    assert main(["nkey", *([argument] if argument else [])]) == 0
    seed, public = capsys.readouterr().out.splitlines()
    pair = nkeys.from_seed(seed)
    assert (pair.prefix, pair.public) == (prefix, public)


def test_nkey_shows_the_public_key_of_a_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = nkeys.generate(Prefix.ACCOUNT)
    file = tmp_path / "seed"
    file.write_text(f"{pair.encoded_seed()}\n")
    assert main(["nkey", "--seed", str(file)]) == 0
    assert main(["nkey", "--account", "--seed", str(file)]) == 0
    assert capsys.readouterr().out == f"{pair.public}\n" * 2


def test_nkey_reads_credentials_from_stdin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = nkeys.generate(Prefix.USER)
    text = (
        "-----BEGIN NATS USER JWT-----\neyJ0eXAiOiJKV1QifQ.e30.c2ln\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{pair.encoded_seed()}\n------END USER NKEY SEED------\n"
    )
    monkeypatch.setattr(sys, "stdin", Input(text.encode()))
    assert main(["nkey", "--seed", "-"]) == 0
    assert capsys.readouterr().out == f"{pair.public}\n"


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"S" * 58, nkeys.generate(Prefix.USER).public.encode()],
    ids=["empty", "no text", "no key", "public key"],
)
def test_nkey_without_a_usable_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    file = tmp_path / "seed"
    file.write_bytes(content)
    assert main(["nkey", "--seed", str(file)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"spline: {file} holds no usable seed (")


def test_nkey_of_another_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "seed"
    seed = nkeys.generate(Prefix.OPERATOR).encoded_seed()
    file.write_text(seed)
    assert main(["nkey", "--user", "--seed", str(file)]) == 1
    error = capsys.readouterr().err
    assert error == f"spline: {file} holds a seed of another kind: operator, not user\n"
    assert seed not in error


def test_nkey_without_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nkey", "--seed", str(tmp_path / "none")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_passwd_hashes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["passwd", "-p", "secret", "--cost", "4"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("$2a$04$")
    assert verify_bcrypt(out.strip().encode(), b"secret")


def test_passwd_default_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["passwd", "-p", "secret"]) == 0
    assert capsys.readouterr().out.startswith("$2a$11$")


def test_passwd_reads_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", Input("gr\u00fcn\r\nmore\n".encode()))
    assert main(["passwd", "-p", "-", "--cost", "4"]) == 0
    assert verify_bcrypt(capsys.readouterr().out.strip().encode(), "gr\u00fcn".encode())


@pytest.mark.parametrize(("arguments", "terminal"), [([], False), (["-g"], True)])
def test_passwd_generates(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], terminal: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", Input(b"", terminal))
    assert main(["passwd", "--cost", "4", *arguments]) == 0
    password, hash = capsys.readouterr().out.splitlines()
    assert len(password) == 32
    assert password.isalnum()
    assert verify_bcrypt(hash.encode(), password.encode())


@pytest.mark.parametrize(("answers", "code"), [(["a", "a"], 0), (["a", "b"], 1)])
def test_passwd_asks_at_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answers: list[str], code: int
) -> None:
    monkeypatch.setattr(sys, "stdin", Input(b"", terminal=True))
    given = iter(answers)
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(given))
    assert main(["passwd", "--cost", "4"]) == code
    captured = capsys.readouterr()
    if code:
        assert captured.err == "spline: the passwords do not match\n"
    else:
        assert is_bcrypt(captured.out)


@pytest.mark.parametrize(
    ("password", "error"),
    [
        ("", "is empty"),
        ("x" * 73, "longer than the 72 bytes"),
        ("\u00e9" * 37, "longer"),
        ("\udcff", "not UTF-8"),
    ],
)
def test_passwd_refuses(capsys: pytest.CaptureFixture[str], password: str, error: str) -> None:
    assert main(["passwd", "--cost", "4", "-p", password]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert error in captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nope"],
        ["nkey", "--user", "--account"],
        ["passwd", "--cost", "3"],
        ["passwd", "--cost", "32"],
        ["passwd", "--cost", "x"],
        ["passwd", "-p", "x", "-g"],
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: spline" in capsys.readouterr().err


def test_a_reader_that_stops_early() -> None:
    command = f"{sys.executable} -m supervisor.toolbox nkey | true"
    run = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Traceback" not in run.stderr
