"""Runs the real `nats` command line tool, and reads what it prints."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.harness import Log, Server
from tests.server.monitor import Monitor

_numbers: Final = itertools.count(1)
_ROW: Final = re.compile(r"^│(.*)│$", re.MULTILINE)
_VOLATILE: Final = (
    (re.compile(r"\bN[A-Z2-7]{55}\b"), "<server>"),
    (re.compile(r"\b(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d\b"), "<time>"),
    (re.compile(r"(?m)(?<=^│ )\d+|(?<=Client ID: )\d+"), "<cid>"),
    (re.compile(r"\b127\.0\.0\.1:\d+"), "<address>"),
    (re.compile(r"(?<![\w.])(?:\d+h)?(?:\d+m)?\d+(?:\.\d+)?(?:ns|µs|ms|s)\b"), "<duration>"),
)


def tool() -> str:
    """The tool's path. Tests that need it are skipped where it is not; `.ci/run` brings it along."""
    found = shutil.which("nats")
    if found is None:
        pytest.skip("no nats CLI on PATH")
    return found


@dataclass(slots=True, frozen=True)
class Done:
    """A command that has ended, with all that it printed."""

    code: int
    text: str

    @property
    def rows(self) -> list[list[str]]:
        """The cells of all tables, headings included."""
        return [[cell.strip() for cell in row.split("│")] for row in _ROW.findall(self.text)]

    def table(self, first: str = "") -> list[dict[str, str]]:
        """The rows of the table whose heading begins with ``first`` (the first one of all), by column; sums are rows, too."""
        rows = iter(self.rows)
        heading = next((row for row in rows if len(row) > 1 and row[0].startswith(first)), None)
        assert heading is not None, self.text
        found = []
        for row in rows:
            if len(row) != len(heading):
                break
            found.append(dict(zip(heading, row, strict=True)))
        return found

    @property
    def json(self) -> Any:
        """The value that was printed."""
        return json.loads(self.text)

    @property
    def steady(self) -> str:
        """The text without what differs from server to server and from second to second."""
        text = self.text
        for pattern, word in _VOLATILE:
            text = pattern.sub(word, text)
        # Columns are as wide as what is in them.
        return re.sub(r" *│ *", "│", re.sub(r"─+", "─", re.sub(r" {2,}", "  ", text)))


class Running:
    """A command that goes on until it is stopped."""

    def __init__(self, process: subprocess.Popen[bytes], output: Any) -> None:
        self.process = process
        self.log = Log(output)

    def wait(self, timeout: float = 30.0) -> Done:
        """The end that it comes to by itself."""
        code = self.process.wait(timeout)
        self.log.wait_end(timeout)
        return Done(code, self.log.text)

    def stop(self) -> Done:
        """End it as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        return self.wait()


def _can_be_interrupted() -> None:
    """What runs in the background of a script ignores Ctrl-C, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _on_a_terminal() -> None:
    _can_be_interrupted()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Cli:
    """The tool, as a user of a server whose password is the user's name."""

    def __init__(self, server: Server, home: Path) -> None:
        self._tool = tool()
        self.server = server
        self._home = home
        self._running: list[Running] = []
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TERM": "xterm",
            "LANG": "C.UTF-8",
        }

    def at(self, server: Server) -> Cli:
        """The same at another server. For commands that end."""
        return Cli(server, self._home)

    def _words(self, user: str, arguments: tuple[str, ...]) -> list[str]:
        login = ("--user", user, "--password", user) if user else ()
        return [self._tool, "--server", self.server.url, "--no-context", *login, *arguments]

    def run(self, user: str, *arguments: str, timeout: float = 60.0) -> Done:
        """Run a command to its end."""
        done = subprocess.run(
            self._words(user, arguments),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode())

    def __call__(self, user: str, *arguments: str, code: int = 0) -> Done:
        """The same; asserts its exit code."""
        done = self.run(user, *arguments)
        assert done.code == code, f"{arguments}: {done.code}\n{done.text}"
        return done

    def start(self, user: str, *arguments: str, subscriptions: int = 1) -> Running:
        """Start a command that goes on, and wait until the server knows that many subscriptions of it."""
        name = f"cli-{next(_numbers)}"
        process = subprocess.Popen(
            self._words(user, ("--connection-name", name, *arguments)),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=_can_be_interrupted,
        )
        running = self._keep(Running(process, process.stdout))
        monitor = Monitor(self.server)
        monitor.until(
            lambda: any(
                entry.get("name") == name and entry["subscriptions"] >= subscriptions
                for entry in monitor.connections()
            ),
            timeout=30.0,
        )
        return running

    def screen(self, user: str, *arguments: str, rows: int = 50, columns: int = 200) -> Running:
        """Start a command in a terminal of its own."""
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        with contextlib.closing(os.fdopen(theirs, "rb", buffering=0)) as end:
            process = subprocess.Popen(
                self._words(user, arguments),
                env=self._environment,
                stdin=end,
                stdout=end,
                stderr=end,
                start_new_session=True,
                preexec_fn=_on_a_terminal,
            )
        return self._keep(Running(process, _Terminal(ours)))

    def _keep(self, running: Running) -> Running:
        self._running.append(running)
        return running

    def close(self) -> None:
        """End what still runs."""
        for running in self._running:
            if running.process.poll() is None:
                running.process.kill()
            running.process.wait(10.0)


class _Terminal:
    """The lines of a terminal, whose end the system reports as an error."""

    def __init__(self, fd: int) -> None:
        self._file = os.fdopen(fd, "rb", buffering=0)

    def __enter__(self) -> _Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[bytes]:
        rest = b""
        while True:
            try:
                data = self._file.read(1 << 16)
            except OSError:
                break
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            yield from (line + b"\n" for line in lines)
        if rest:
            yield rest


def home() -> Path:
    """A folder for the tool's own files."""
    return Path(tempfile.mkdtemp(prefix="nats-cli-"))
