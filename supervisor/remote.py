"""``--signal command[=process]``: find the process of a running server and send it the signal of a command.

A process is named by its pid, by the path of a pid file, or by the beginning of pids (``12*``); without one it is
the only process that has this program's name.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Final

from broker.options.gotext import GoError, parse_int, quote
from supervisor.errors import system_text
from supervisor.naming import process_name

COMMANDS: Final = {
    "stop": signal.SIGKILL,
    "quit": signal.SIGINT,
    "term": signal.SIGTERM,
    "reload": signal.SIGHUP,
    "reopen": signal.SIGUSR1,
    "ldm": signal.SIGUSR2,
}


def send(request: str, program: str) -> str:
    """Do what ``--signal`` asks for. Returns why it cannot be done; empty: done."""
    command, *rest = request.split("=")
    if len(rest) > 1:
        return f"invalid signal parameters: [{' '.join(rest[1:])}]"
    process = _read_pid_file(rest[0]) if rest else ""
    prefix = process.removesuffix("*")
    pids = [0]
    if prefix:
        try:
            pids = [parse_int(prefix)]
        except GoError:
            return f"invalid pid: {prefix}"
    several = process.endswith("*")
    if not prefix or several:
        pids = find_processes(program)
    if len(pids) > 1 and not several:
        return "\n".join([f"multiple {program} processes running:", *map(str, pids)])
    if not pids:
        return f"no {program} processes running"
    if command not in COMMANDS:
        return f"unknown signal {quote(command)}"
    failures = [
        _kill(pid, command) for pid in pids if not several or not prefix or str(pid).startswith(prefix)
    ]
    return "".join(f"\n{failure}" for failure in failures if failure)


def _kill(pid: int, command: str) -> str:
    """Send one signal; returns what went wrong."""
    try:
        os.kill(pid, COMMANDS[command])
    except (OSError, OverflowError) as error:
        why = system_text(error) if isinstance(error, OSError) else "no such process"
        return f"signal {quote(command)} {pid}: {why}"
    return ""


def _read_pid_file(text: str) -> str:
    """What a pid file holds, if ``text`` is the path of a file that can be read; else ``text``."""
    try:
        return Path(text).read_text(encoding="utf-8", errors="surrogateescape").strip()
    except (OSError, ValueError):
        return text


def find_processes(program: str) -> list[int]:
    """The processes with this program's name, but for this one and the children of those found."""
    wanted = process_name(program)
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError, IndexError, ValueError):  # it has ended in the meantime
            if (entry / "comm").read_bytes().rstrip(b"\n") == wanted:
                stat = (entry / "stat").read_bytes()
                parents[int(entry.name)] = int(stat[stat.rindex(b")") + 1 :].split()[1])
    return sorted(pid for pid, parent in parents.items() if parent not in parents)
