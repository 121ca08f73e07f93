"""From a command line to checked options: file, flags and defaults together, and the checks made at the
start.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from broker.options.command_line import Command, program_name
from broker.options.features import unsupported_features
from broker.options.model import DEFAULT_AUTH_TIMEOUT, Options

if TYPE_CHECKING:
    from broker.options.report import Problem, Report

_MAX_PORT: Final = 65535

# Options for which a zero or empty value stands for the default.
_ZERO_IS_DEFAULT: Final = (
    "host",
    "port",
    "max_control_line",
    "max_payload",
    "max_pending",
    "ping_interval",
    "ping_max",
    "write_deadline",
    "max_closed_clients",
    "lame_duck_duration",
    "lame_duck_grace_period",
    "connect_error_reports",
    "reconnect_error_reports",
)


@dataclass(slots=True)
class Loaded:
    """The outcome of ``load``. ``options`` are of no use while there are errors. Messages are complete lines.

    ``problems`` are the errors once more, and ``doubts`` the warnings, with what is known about their places.
    """

    options: Options
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    doubts: list[Problem] = field(default_factory=list)


def load(command: Command) -> Loaded:
    """Read the command's configuration file, if any, and let flags override it. Never raises for a bad file.

    A reload calls this again with the same command.
    """
    loaded = _load_file(command.config_file) if command.config_file else Loaded(Options(auth_timeout=0.0))
    options = loaded.options
    if command.action != "test":  # a test is one of the file
        for name, value in command.overrides.items():
            setattr(options, name, value)
        if command.tls_flags or command.cluster_flags or command.jetstream is not None:
            from broker.options.flags import apply_flags

            loaded.errors += apply_flags(command, options)
    _settle(options)
    return loaded


def _settle(options: Options) -> None:
    """Put defaults where nothing was said, or zero, which means the same."""
    defaults = Options()
    for name in _ZERO_IS_DEFAULT:
        if not getattr(options, name):
            setattr(options, name, getattr(defaults, name))
    options.http_host = options.http_host or options.host
    if options.tls is not None and not options.tls.timeout:
        from broker.options.sections import DEFAULT_TLS_TIMEOUT

        options.tls.timeout = DEFAULT_TLS_TIMEOUT
    if not options.auth_timeout:
        options.auth_timeout = options.tls.timeout + 1.0 if options.tls is not None else DEFAULT_AUTH_TIMEOUT
    if options.http_base_path:
        from posixpath import normpath

        path = normpath("/" + options.http_base_path.lstrip("/"))
        options.http_base_path = "" if path == "/" else path


def _load_file(path: str) -> Loaded:
    # Reading configuration files takes a good part of the code; a server without one does without.
    from broker.options.builder import build_options
    from broker.options.digest import config_digest
    from broker.options.parser import ConfigError, parse_file
    from broker.options.report import Problem, Report

    report = Report()
    try:
        values = parse_file(path)
    except ConfigError as error:
        report.errors.append(Problem(str(error), error.place, placed=False))
        return _loaded(Options(config_file=path), report)
    if not values:
        report.warnings.append(Problem(f"{path}: config has no values or is empty"))
    options = build_options(values, report)
    options.config_file = path
    options.config_digest = config_digest(values)
    return _loaded(options, report)


def _loaded(options: Options, report: Report) -> Loaded:
    return Loaded(
        options,
        [problem.text() for problem in report.errors],
        [problem.text() for problem in report.warnings],
        report.errors,
        report.warnings,
    )


def failure_text(loaded: Loaded) -> str:
    """What to print on standard error when the configuration is refused: warnings first, one line each."""
    return f"{program_name()}: " + "\n".join(loaded.warnings + loaded.errors)


def test_result(loaded: Loaded) -> tuple[str, int]:
    """(text for standard error, exit code) of testing a configuration: a warning fails the test, too."""
    if loaded.errors or loaded.warnings:
        return failure_text(loaded), 1
    options = loaded.options
    return f"{program_name()}: configuration file {options.config_file} is valid ({options.config_digest})", 0


def validate_start(options: Options) -> list[str]:
    """Why a server with these options can not start: checks between options, not made when a file is only
    tested.
    """
    errors: list[str] = []
    if options.lame_duck_grace_period >= options.lame_duck_duration:
        from broker.options.gotext import format_duration

        errors.append(
            f"lame duck grace period ({format_duration(options.lame_duck_grace_period)}) should be strictly lower "
            f"than lame duck duration ({format_duration(options.lame_duck_duration)})"
        )
    if options.max_payload > options.max_pending:
        errors.append(
            f"max_payload ({options.max_payload}) cannot be higher than max_pending ({options.max_pending})"
        )
    if " " in options.server_name:
        errors.append("server name cannot contain spaces")
    errors += _check_no_auth_user(options)
    if options.system_account and all(account.name != options.system_account for account in options.accounts):
        errors.append("error resolving system account: account missing")
    unsupported = unsupported_features(options)
    if unsupported:
        errors.append(f"not supported yet: {', '.join(unsupported)}")
    if options.http_port and options.https_port:
        errors.append(
            f"Can't start monitoring: can't specify both HTTP ({options.http_port}) "
            f"and HTTPs ({options.https_port}) ports"
        )
    elif options.https_port and options.tls is None:
        errors.append("Can't start monitoring: TLS cert and key required for HTTPS")
    if not -1 <= options.port <= _MAX_PORT:
        errors.append(
            f"Error listening on port: {options.host}:{options.port}, "
            f'"listen tcp: address {options.port}: invalid port"'
        )
    if options.client_advertise:
        from broker.options.gotext import GoError

        try:
            advertised_address(options)
        except GoError as error:
            errors.append(
                f"Error setting server INFO with ClientAdvertise value of {options.client_advertise}, err={error}"
            )
    return errors


def _check_no_auth_user(options: Options) -> list[str]:
    name = options.no_auth_user
    if not name:
        return []
    if not options.users and not options.nkeys:
        return [f'no_auth_user: "{name}" present, but users/nkeys are not defined']
    if any(user.name == name for user in options.users) or any(user.nkey == name for user in options.nkeys):
        return []
    return [
        f'no_auth_user: "{name}" not present as user or nkey in authorization block or account configuration'
    ]


def advertised_address(options: Options) -> tuple[str, int]:
    """(host, port) that INFO shows: those of ``client_advertise``, or else of the listener.

    A port that is missing, 0 or -1 means the listener's. Raises ``GoError`` for what is no address.
    """
    if not options.client_advertise:
        return options.host, options.port
    from broker.options.gotext import GoError, parse_int, split_host_port

    try:
        host, port_text = split_host_port(options.client_advertise)
    except GoError as error:
        if "missing port" not in str(error):
            raise
        host, port_text = split_host_port(f"{options.client_advertise}:{options.port}")
    port = parse_int(port_text.strip())
    return host.strip(), options.port if port in (0, -1) else port
