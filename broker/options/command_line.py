"""The command line: flags in Go's syntax, as nats-server takes them.

One or two dashes are the same; ``-f v`` and ``-f=v`` are the same, except that a switch takes a value only as
``-b=false``. The first argument that is no flag ends the flags; ``version`` and ``help`` are the only
commands.

This module neither reads the configuration file nor loads the code that can.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import Final, Literal

from broker.options.model import MAX_WORKERS, Secret

_DEFAULT_NAME: Final = "spline-server"

Action = Literal["run", "test", "signal", "version", "help", "error"]
Setting = str | int | bool | Secret | None


@dataclass(slots=True)
class Command:
    """What a command line asks for.

    ``run`` starts a server, ``test`` checks its configuration file, ``signal`` sends ``signal`` to a running one.
    For the other actions ``text`` is what to print: to standard error for ``error`` and to standard output for
    ``version`` and ``help``; ``usage``, if not empty, goes to standard output after it. Then the process exits
    with ``exit_code``.

    ``overrides`` maps names of ``Options`` fields to the values that flags gave them. Flags that set a part of a
    section stand in ``tls_flags`` and ``cluster_flags``, by name.
    """

    action: Action
    text: str = ""
    exit_code: int = 0
    usage: str = ""
    config_file: str = ""
    signal: str = ""  # "command" or "command=process"
    overrides: dict[str, Setting] = field(default_factory=dict)
    tls_flags: dict[str, str | int | bool] = field(default_factory=dict)
    cluster_flags: dict[str, str | int | bool] = field(default_factory=dict)
    jetstream: bool | None = None


class _FlagError(Exception):
    """A flag that can not be understood; ``str()`` is Go's message."""


# Flag to what it sets: a field of Options, or, behind a star, something else.
_STRINGS: Final = {
    **dict.fromkeys(("a", "addr", "net"), "host"),
    **dict.fromkeys(("n", "name", "server_name"), "server_name"),
    **dict.fromkeys(("P", "pid"), "pid_file"),
    **dict.fromkeys(("l", "log"), "log_file"),
    **dict.fromkeys(("r", "remote_syslog"), "remote_syslog"),
    "client_advertise": "client_advertise",
    "ports_file_dir": "ports_file_dir",
    "log_format": "log_format",
    "user": "username",
    "pass": "password",
    "auth": "token",
    **dict.fromkeys(("c", "config"), "*config"),
    **dict.fromkeys(("sl", "signal"), "*signal"),
    **dict.fromkeys(("sd", "store_dir"), "*store_dir"),
    "tlscert": "*tls:tlscert",
    "tlskey": "*tls:tlskey",
    "tlscacert": "*tls:tlscacert",
    "routes": "*cluster:routes",
    **dict.fromkeys(("cluster", "cluster_listen"), "*cluster:listen"),
    "cluster_name": "*cluster:name",
    "cluster_advertise": "*cluster:advertise",
}
_INTS: Final = {
    **dict.fromkeys(("p", "port"), "port"),
    **dict.fromkeys(("m", "http_port"), "http_port"),
    **dict.fromkeys(("ms", "https_port"), "https_port"),
    "log_size_limit": "log_size_limit",
    "max_traced_msg_len": "max_traced_msg_len",
    "profile": "prof_port",
    "workers": "workers",
    "connect_retries": "*cluster:connect_retries",
}
_SWITCHES: Final = {
    **dict.fromkeys(("D", "debug"), "debug"),
    **dict.fromkeys(("V", "trace"), "trace"),
    **dict.fromkeys(("T", "logtime"), "logtime"),
    "logtime_utc": "logtime_utc",
    **dict.fromkeys(("s", "syslog"), "syslog"),
    "VV": "*VV",
    "DV": "*DV",
    "DVV": "*DVV",
    "t": "*test",
    **dict.fromkeys(("v", "version"), "*version"),
    **dict.fromkeys(("h", "help"), "*help"),
    "help_tls": "*help_tls",
    **dict.fromkeys(("js", "jetstream"), "*jetstream"),
    "tls": "*tls:tls",
    "tlsverify": "*tls:tlsverify",
    "no_advertise": "*cluster:no_advertise",
}
# Applied after the plain switches, in this order, whatever the order on the command line.
_COMBINED: Final = {
    "*DV": ("trace", "debug"),
    "*DVV": ("trace", "debug", "trace_verbose"),
    "*VV": ("trace", "trace_verbose"),
}
_SECRETS: Final = frozenset(("password", "token"))
_TRUE: Final = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE: Final = frozenset(("0", "f", "F", "false", "FALSE", "False"))


def program_name() -> str:
    """The name that this program was called by: a link called ``nats-server`` is one to its callers."""
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    return _DEFAULT_NAME if not name or name.startswith("-") or name.endswith(".py") else name


def parse_command_line(argv: list[str]) -> Command:
    """What ``argv`` (without the program's name) asks for. Never raises: mistakes are a command to show them.

    Like nats-server, a flag that can not be understood shows the usage and exits with 0.
    """
    try:
        settings, rest = _parse_flags(argv)
    except _FlagError as error:
        return Command("error", str(error), 0, _usage())
    word = rest[0].lower() if rest else ""
    if settings.get("*version"):
        return _version()
    if settings.get("*help"):
        return Command("help", _usage())
    if settings.get("*help_tls"):
        from broker.options.usage import TLS_HELP

        return Command("help", TLS_HELP)
    if word == "version":
        return _version()
    if word == "help":
        return Command("help", _usage())
    if rest:
        return _refusal(f"unrecognized command: {_quote(rest[0])}")
    if settings.get("*signal"):
        return Command("signal", signal=str(settings["*signal"]))
    config_file = str(settings.get("*config") or "")
    if settings.get("*test") and not config_file:
        return _refusal("must specify [-c, --config] option to check configuration file syntax")
    return _command("test" if settings.get("*test") else "run", config_file, settings)


def _command(action: Action, config_file: str, settings: dict[str, str | int | bool]) -> Command:
    for name, options in _COMBINED.items():
        if name in settings:
            settings.update(dict.fromkeys(options, settings[name]))
    command = Command(action, config_file=config_file)
    for name, value in settings.items():
        if name in _SECRETS:
            command.overrides[name] = Secret(str(value)) if value else None
        elif not name.startswith("*"):
            command.overrides[name] = value
        elif name.startswith("*tls:"):
            command.tls_flags[name.removeprefix("*tls:")] = value
        elif name.startswith("*cluster:"):
            command.cluster_flags[name.removeprefix("*cluster:")] = value
        elif name == "*jetstream":
            command.jetstream = bool(value)
    return command


def _version() -> Command:
    from broker.protocol.version import NATS_VERSION

    return Command("version", f"{program_name()}: v{NATS_VERSION}")


def _usage() -> str:
    from broker.options.usage import usage  # a long text, for those who ask for it

    return usage(program_name())


def _refusal(reason: str) -> Command:
    return Command("error", f"{program_name()}: {reason}", 1)


def _quote(text: str) -> str:
    """Go's quoting; loaded only for a message, to keep an ordinary start short."""
    from broker.options.gotext import quote

    return quote(text)


def _parse_flags(argv: list[str]) -> tuple[dict[str, str | int | bool], list[str]]:
    """(settings by name, arguments that are no flags). Raises ``_FlagError``."""
    settings: dict[str, str | int | bool] = {}
    rest = list(argv)
    while rest and len(rest[0]) >= 2 and rest[0].startswith("-"):
        argument = rest.pop(0)
        if argument == "--":
            break
        name = argument[2:] if argument.startswith("--") else argument[1:]
        if not name or name[0] in "-=":
            raise _FlagError(f"bad flag syntax: {argument}")
        name, equals, value = name.partition("=")
        is_switch = _is_switch(name)
        if not equals and not is_switch:
            if not rest:
                raise _FlagError(f"flag needs an argument: -{name}")
            value = rest.pop(0)
        if name in _STRINGS:
            settings[_STRINGS[name]] = _check_word(name, value)
        elif name in _INTS:
            settings[_INTS[name]] = _parse_int(name, value)
        else:
            settings[_SWITCHES[name]] = _parse_bool(name, value) if equals else True
    return settings, rest


def _check_word(name: str, value: str) -> str:
    if name == "log_format" and value not in ("text", "json"):
        raise _FlagError(f"invalid value {_quote(value)} for flag -{name}: must be text or json")
    return value


def _is_switch(name: str) -> bool:
    """Whether the flag takes no separate value. Raises ``_FlagError`` for a flag that does not exist."""
    if name in _SWITCHES:
        return True
    if name in _STRINGS or name in _INTS:
        return False
    raise _FlagError(f"flag provided but not defined: -{name}")


def _parse_bool(name: str, value: str) -> bool:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise _FlagError(f"invalid boolean value {_quote(value)} for -{name}: parse error")


def _parse_int(name: str, value: str) -> int:
    """An int64 in Go's notation: decimal, ``0x``, ``0o`` or ``0`` octal, ``0b``, with underscores between
    digits.
    """
    digits = value.lstrip("+-") if value[:2] not in ("--", "++", "+-", "-+") else ""
    plain_octal = len(digits) > 1 and digits[0] == "0" and digits[1] in "01234567_"
    try:
        if not digits or not digits.isascii() or digits != digits.strip():
            raise ValueError
        number = int("0o" + digits[1:], 8) if plain_octal else int(digits, 0)
    except ValueError:
        raise _FlagError(f"invalid value {_quote(value)} for flag -{name}: parse error") from None
    number = -number if value.startswith("-") else number
    if not -(1 << 63) <= number < 1 << 63:
        raise _FlagError(f"invalid value {_quote(value)} for flag -{name}: value out of range")
    if name == "workers" and not 0 <= number <= MAX_WORKERS:
        raise _FlagError(f"invalid value {_quote(value)} for flag -{name}: value out of range")
    return number
