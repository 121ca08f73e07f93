"""The command line: flags in Go's syntax, as nats-server takes them.

One or two dashes are the same; ``-f v`` and ``-f=v`` are the same, except that a switch takes a value only as
``-b=false``. The first argument that is no flag ends the flags; ``version`` and ``help`` are the only
commands.

This module neither reads the configuration file nor loads the code that can.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from broker.options.model import MAX_WORKERS, Secret

PROGRAM: Final = "nats-server"  # the name in front of messages: scripts look for it

Action = Literal["run", "test", "version", "help", "error"]
Setting = str | int | bool | Secret | None

USAGE: Final = """
Usage: nats-server [options]

Server Options:
    -a, --addr, --net <host>         Bind to host address (default: 0.0.0.0)
    -p, --port <port>                Use port for clients (default: 4222)
    -n, --name
        --server_name <server_name>  Server name (default: auto)
    -P, --pid <file>                 File to store PID
    -c, --config <file>              Configuration file
    -t                               Test configuration and exit
        --client_advertise <string>  Client URL to advertise to other servers
        --workers <number>           Worker processes (default: one for each usable core)

Logging Options:
    -T, --logtime                    Timestamp log entries (default: true)
    -D, --debug                      Enable debugging output
    -V, --trace                      Trace the raw protocol
    -VV                              Verbose trace (traces system account as well)
    -DV                              Debug and trace
    -DVV                             Debug and verbose trace (traces system account as well)

Authorization Options:
        --user <user>                User required for connections
        --pass <password>            Password required for connections
        --auth <token>               Authorization token required for connections

Common Options:
    -h, --help                       Show this message
    -v, --version                    Show version
"""


@dataclass(slots=True)
class Command:
    """What the command line asks for.

    ``run`` and ``test`` go on with ``load``. The others only have something to say: ``text`` goes to standard error
    for ``error`` and to standard output for ``version`` and ``help``; ``usage``, if not empty, goes to standard
    output after it. Then the process exits with ``exit_code``.

    ``overrides`` maps names of ``Options`` fields to the values that flags gave them.
    """

    action: Action
    text: str = ""
    exit_code: int = 0
    usage: str = ""
    config_file: str = ""
    overrides: dict[str, Setting] = field(default_factory=dict)


class _FlagError(Exception):
    """A flag that can not be understood; ``str()`` is Go's message."""


# Flag to what it sets. Names are those of Options fields, except for the ones with a star.
_STRINGS: Final = {
    "a": "host",
    "addr": "host",
    "net": "host",
    "n": "server_name",
    "name": "server_name",
    "server_name": "server_name",
    "P": "pid_file",
    "pid": "pid_file",
    "client_advertise": "client_advertise",
    "user": "username",
    "pass": "password",
    "auth": "token",
    "c": "*config",
    "config": "*config",
}
_INTS: Final = {"p": "port", "port": "port", "workers": "workers"}
_SWITCHES: Final = {
    "D": "debug",
    "debug": "debug",
    "V": "trace",
    "trace": "trace",
    "VV": "*VV",
    "DV": "*DV",
    "DVV": "*DVV",
    "T": "logtime",
    "logtime": "logtime",
    "t": "*test",
    "v": "*version",
    "version": "*version",
    "h": "*help",
    "help": "*help",
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


def parse_command_line(argv: list[str]) -> Command:
    """What ``argv`` (without the program's name) asks for. Never raises: mistakes are a command to show them.

    Like nats-server, a flag that can not be understood shows the usage and exits with 0.
    """
    try:
        settings, unsupported, rest = _parse_flags(argv)
    except _FlagError as error:
        return Command("error", str(error), 0, USAGE)
    command = rest[0] if rest else ""
    if settings.get("*version"):
        return _version()
    if settings.get("*help"):
        return Command("help", USAGE)
    if command.lower() == "version":
        return _version()
    if command.lower() == "help":
        return Command("help", USAGE)
    if rest:
        return _refusal(f"unrecognized command: {_quote(command)}")
    if unsupported:
        return _refusal(f"flag is known but not supported yet: -{unsupported}")
    config_file = str(settings.get("*config") or "")
    if settings.get("*test") and not config_file:
        return _refusal("must specify [-c, --config] option to check configuration file syntax")
    for name, options in _COMBINED.items():
        if name in settings:
            settings.update(dict.fromkeys(options, settings[name]))
    overrides: dict[str, Setting] = {}
    for name, value in settings.items():
        if name in _SECRETS:
            overrides[name] = Secret(str(value)) if value else None
        elif not name.startswith("*"):
            overrides[name] = value
    action: Action = "test" if settings.get("*test") else "run"
    return Command(action, config_file=config_file, overrides=overrides)


def _version() -> Command:
    from broker.protocol.version import NATS_VERSION

    return Command("version", f"{PROGRAM}: v{NATS_VERSION}")


def _refusal(reason: str) -> Command:
    return Command("error", f"{PROGRAM}: {reason}", 1)


def _quote(text: str) -> str:
    """Go's quoting; loaded only for a message, to keep an ordinary start short."""
    from broker.options.gotext import quote

    return quote(text)


def _parse_flags(argv: list[str]) -> tuple[dict[str, str | int | bool], str, list[str]]:
    """(settings by name, the first unsupported flag or "", arguments that are no flags). Raises
    ``_FlagError``.
    """
    settings: dict[str, str | int | bool] = {}
    unsupported = ""
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
            settings[_STRINGS[name]] = value
        elif name in _INTS:
            settings[_INTS[name]] = _parse_int(name, value)
        else:
            on = _parse_bool(name, value) if equals and is_switch else True
            if name in _SWITCHES:
                settings[_SWITCHES[name]] = on
            else:
                unsupported = unsupported or name
    return settings, unsupported, rest


def _is_switch(name: str) -> bool:
    """Whether the flag takes no separate value. Raises ``_FlagError`` for a flag that does not exist."""
    if name in _SWITCHES:
        return True
    if name in _STRINGS or name in _INTS:
        return False
    from broker.options.known import FLAGS

    if name not in FLAGS:
        raise _FlagError(f"flag provided but not defined: -{name}")
    return FLAGS[name]


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
