"""The command ``spline-server``: from arguments to a running server, or to the reason why there is none."""

from __future__ import annotations

import os
import signal
import sys
from typing import Final

from broker.options import failure_text, load, parse_command_line, test_result, validate_start
from broker.options.command_line import program_name
from supervisor.children import default_argv
from supervisor.naming import hide_secret_arguments, set_process_name
from supervisor.server import run_server

# What validate_start says in these words is, as in nats-server, the server's failure and not the
# configuration's: it belongs into the log, after the banner.
_FAILURES: Final = ("Error ", "Can't ")


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line (by default the process's) asks for; returns the exit code."""
    ensure_standard_streams()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is something to stop in order
    command = parse_command_line(sys.argv[1:] if arguments is None else arguments)
    if command.action in ("version", "help", "error"):
        say(command.text, 2 if command.action == "error" else 1)
        say(command.usage, 1)
        return command.exit_code
    if command.action == "signal":
        return send_signal(command.signal)
    loaded = load(command)
    if command.action == "test":
        text, code = test_result(loaded)
        say(text, 2)
        return code
    if loaded.errors:
        say(failure_text(loaded), 2)
        return 1
    for warning in loaded.warnings:
        say(warning, 2)
    problems = validate_start(loaded.options)
    for problem in problems:
        if not problem.startswith(_FAILURES):
            say(f"{program_name()}: {problem}", 2)
            return 1
    set_process_name(program_name())
    hide_secret_arguments()
    return run_server(
        loaded.options,
        default_argv(),
        refusal=problems[0] if problems else "",
        load=lambda: load(command),
    )


def send_signal(request: str) -> int:
    """Do what ``--signal`` asks for; returns the exit code."""
    from supervisor.remote import send

    failure = send(request, program_name())
    if failure:
        say(f"{program_name()}: {failure}", 2)
    return 1 if failure else 0


def ensure_standard_streams() -> None:
    """Open what the caller has closed of descriptors 0 to 2, lest a socket takes the place of standard error."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        os.set_inheritable(descriptor, True)
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)


def say(text: str, descriptor: int) -> None:
    """Print lines, if any, as they are: in whatever encoding they came from a file or the command line."""
    if not text:
        return
    try:
        os.write(descriptor, text.encode("utf-8", "surrogateescape") + b"\n")
    except OSError:
        sys.exit(1)  # nobody reads it
