"""``spline check``: everything that is wrong with a configuration file, what a server would make of it, and what a
running server would change if it were to read it now.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from broker.options import Loaded, Options, load, parse_command_line, validate_start
from broker.options.command_line import Command
from broker.options.effective import effective_text
from broker.options.features import start_warnings
from broker.options.reload import plan
from broker.options.report import Problem
from supervisor.live import live_options_file

_PLACED_BY_LINE: Final = re.compile(
    r"(?:error parsing include file '[^']*', )*Parse error on line \d+: '(.*)'"
)


class CheckError(Exception):
    """The check could not be made; ``str()`` is why."""


def check(file: str, effective: bool, pid: int | None) -> int:
    """Check ``file`` and print what was found. Returns the exit code: 0 if a server would take the file.

    With ``effective`` print the resulting configuration; with a ``pid`` what that server would change.
    """
    if pid is not None:
        return _check_plan(file, pid)
    loaded = load(Command("run", config_file=file))
    _print_problems(loaded, file)
    if loaded.errors:
        return 1
    wrong = _print_start_problems(loaded.options, file)
    if effective:
        sys.stdout.write(
            f"# {file} ({loaded.options.config_digest})\n{_shown(effective_text(loaded.options))}"
        )
    elif not wrong:
        print(f"{file} is valid ({loaded.options.config_digest})")
    return 1 if wrong else 0


def _print_problems(loaded: Loaded, file: str) -> None:
    """Errors and warnings, in the order of their places in the file."""
    found = [(problem, "") for problem in loaded.problems] + [
        (problem, "warning: ") for problem in loaded.doubts
    ]
    known = {problem.text() for problem, _ in found}
    for problem, kind in sorted(found, key=lambda pair: _place(pair[0], file)):
        print(_shown(_line(problem, kind, file)), file=sys.stderr)
    for text in loaded.errors:
        if text not in known:  # of a flag
            print(_shown(f"{file}: {text}"), file=sys.stderr)


def _place(problem: Problem, file: str) -> tuple[bool, str, int, int]:
    """What to sort problems by: the main file comes first, and what has no place before everything."""
    node = problem.node
    return (True, node.file, node.line, node.column) if node is not None else (False, file, 0, 0)


def _line(problem: Problem, kind: str, file: str) -> str:
    place = problem.node.source() if problem.node is not None else file
    hint = f' (did you mean "{problem.hint}"?)' if problem.hint else ""
    reason = problem.plain or problem.reason
    if problem.node is None:
        reason = reason.removeprefix(f"{file}: ")
    elif not problem.placed:  # a text that says in its own way where
        reason = _PLACED_BY_LINE.sub(r"\1", reason)
    return f"{place}: {kind}{reason}{hint}"


def _print_start_problems(options: Options, file: str) -> bool:
    """Why a server would not start with options that are right one by one. Returns whether there is a reason."""
    wrong = validate_start(options)
    for text in wrong:
        print(_shown(f"{file}: {text}"), file=sys.stderr)
    for text in start_warnings(options):
        print(_shown(f"{file}: warning: {text}"), file=sys.stderr)
    return bool(wrong)


def _shown(text: str) -> str:
    """Text that may hold bytes of another encoding, or a zero for the end of a file, for a terminal."""
    return text.replace("\0", "\\0").encode("utf-8", "surrogateescape").decode("utf-8", "replace")


# -- what a reload would do -----------------------------------------------------------------------------------------


def _check_plan(file: str, pid: int) -> int:
    """Print what the server ``pid`` would change if ``file`` were its configuration file. 0: it would."""
    command = server_command(pid)
    with _directory_of(pid):
        live = live_options_file(pid)
        if live:
            old = load(Command("run", config_file=live))
        elif command.config_file:
            print(
                f"process {pid} does not show what it runs: compared with {command.config_file} as it is now",
                file=sys.stderr,
            )
            old = load(command)
        else:
            raise CheckError(f"process {pid} does not show what it runs, and has no configuration file")
        if old.errors:
            raise CheckError(f"what process {pid} runs can not be read: {old.errors[0]}")
        new = load(replace(command, action="run", config_file=file))
        _restore_secrets(command, old.options, new.options)
    _print_problems(new, file)
    if new.errors or _print_start_problems(new.options, file):
        return 1
    changes = plan(old.options, new.options)
    for change in changes:
        print(
            _shown(
                change.text.replace("Reloaded: ", "would reload: ", 1).replace(
                    "Reload: ", "would reload: ", 1
                )
            )
        )
    if not changes:
        print("nothing would change")
    return 0 if all(change.reloadable for change in changes) else 1


def _restore_secrets(command: Command, old: Options, new: Options) -> None:
    """A running server crosses out the secrets among its arguments; what they were, where they count, is what runs."""
    for name in ("username", "password", "token"):
        if name in command.overrides:
            setattr(new, name, getattr(old, name))
    if old.cluster is not None and new.cluster is not None:
        if "listen" in command.cluster_flags:
            new.cluster.username, new.cluster.password = old.cluster.username, old.cluster.password
        if "routes" in command.cluster_flags:
            new.cluster.routes = old.cluster.routes


@contextlib.contextmanager
def _directory_of(pid: int) -> Iterator[None]:
    """Work in the directory of a process, in which the paths of its configuration begin."""
    try:
        with contextlib.chdir(f"/proc/{pid}/cwd"):
            yield
    except OSError as error:
        raise CheckError(f"process {pid} can not be looked into: {error.strerror}") from None


def server_command(pid: int) -> Command:
    """The command line of a running server."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError as error:
        raise CheckError(f"no process {pid} can be looked into: {error.strerror}") from None
    arguments = [os.fsdecode(word) for word in words]
    if not arguments:
        raise CheckError(f"process {pid} is no server")
    command = parse_command_line(_without_interpreter(arguments))
    if command.action != "run":
        raise CheckError(f"process {pid} is no server")
    return command


def _without_interpreter(arguments: list[str]) -> list[str]:
    """What stands behind the program: ``python script ...``, ``python -m supervisor ...`` or a program itself."""
    if not os.path.basename(arguments[0]).startswith("python"):
        return arguments[1:]
    rest = arguments[1:]
    while rest and rest[0].startswith("-"):
        if rest[0] == "-m":
            return rest[2:]
        rest = rest[1:]
    return rest[1:]
