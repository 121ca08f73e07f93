"""The typed options of one server: what a checked configuration is, once its text is forgotten.

Everything here is plain, picklable data: the supervisor builds one ``Options`` from the configuration file
and the command line and hands the same value to every worker. Defaults are those of nats-server 2.14. Nothing
in this module parses anything, so that a process which only needs the types pays nothing for the parser.

Strings from a file or the command line may hold bytes that are not UTF-8, as surrogate escapes (PEP 383).
Whoever needs the bytes has to encode with ``surrogateescape``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

DEFAULT_HOST: Final = "0.0.0.0"
DEFAULT_PORT: Final = 4222
DEFAULT_AUTH_TIMEOUT: Final = 2.0
DEFAULT_MAX_PAYLOAD: Final = 1024 * 1024
DEFAULT_MAX_PENDING: Final = 64 * 1024 * 1024
MAX_WORKERS: Final = 256

GLOBAL_ACCOUNT: Final = "$G"


class Secret:
    """A string that must not reach a log, a trace or an error message by accident.

    Every way of turning it into text gives ``[REDACTED]``; only ``reveal()`` gives the value. Two secrets are
    equal when their values are. The comparison is an ordinary one: code that checks a credential sent by a
    client has to use a constant-time comparison of the revealed values instead.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The protected string."""
        return self._value

    def __repr__(self) -> str:
        return "[REDACTED]"

    def __str__(self) -> str:
        return "[REDACTED]"

    def __format__(self, spec: str) -> str:
        return format("[REDACTED]", spec)

    def __eq__(self, other: object) -> bool:
        return self._value == other._value if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return (Secret, (self._value,))


@dataclass(slots=True)
class SubjectList:
    """One side (publish or subscribe) of a permission. An empty ``allow`` allows everything that is not denied.

    Entries are subjects; those of the subscribe side may be ``"subject queue"``.
    """

    allow: list[str] = field(default_factory=list)
    deny: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ResponsePermission:
    """The right to answer a received request: ``max_messages`` replies within ``expires`` seconds.

    Negative values mean unlimited.
    """

    max_messages: int = 1
    expires: float = 120.0


@dataclass(slots=True)
class Permissions:
    """What a user may publish and subscribe. Empty lists restrict nothing.

    With ``responses`` and without a publish allow list, nothing but responses may be published.
    """

    publish: SubjectList = field(default_factory=SubjectList)
    subscribe: SubjectList = field(default_factory=SubjectList)
    responses: ResponsePermission | None = None


@dataclass(slots=True)
class User:
    """A user known by name and password (plain or bcrypt; an empty password needs none).

    ``permissions`` None means everything is allowed; an empty ``connection_types`` means any kind of
    connection.
    """

    name: str
    password: Secret = field(default_factory=lambda: Secret(""))
    permissions: Permissions | None = None
    connection_types: frozenset[str] = frozenset()
    account: str = GLOBAL_ACCOUNT


@dataclass(slots=True)
class NkeyUser:
    """A user known by its public nkey (``U...``). The other fields are those of ``User``."""

    nkey: str
    permissions: Permissions | None = None
    connection_types: frozenset[str] = frozenset()
    account: str = GLOBAL_ACCOUNT


@dataclass(slots=True)
class Options:
    """Every setting of one server. Times are seconds, sizes are bytes, 0 means "no limit" unless said
    otherwise.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT  # -1: any free port
    server_name: str = ""  # empty: the server's id
    client_advertise: str = ""
    workers: int = 0  # 0: one for each usable core

    max_connections: int = 65536  # 0 or less refuses every client, as nats-server 2.14 does
    max_subscriptions: int = 0
    max_sub_tokens: int = 0
    max_control_line: int = 4096
    max_payload: int = DEFAULT_MAX_PAYLOAD  # -1: no limit
    max_pending: int = DEFAULT_MAX_PENDING
    ping_interval: float = 120.0
    ping_max: int = 2
    write_deadline: float = 10.0
    no_fast_producer_stall: bool = False
    no_header_support: bool = False
    disable_sublist_cache: bool = False
    sublist_cache_size: int = 8192

    debug: bool = False
    trace: bool = False
    trace_verbose: bool = False
    logtime: bool = True
    pid_file: str = ""

    username: str = ""
    password: Secret | None = None
    token: Secret | None = None
    auth_timeout: float = DEFAULT_AUTH_TIMEOUT
    users: list[User] = field(default_factory=list)  # users and nkeys outrank username, password and token
    nkeys: list[NkeyUser] = field(default_factory=list)
    default_permissions: Permissions | None = None  # given to users and nkeys already; not to ``username``
    no_auth_user: str = ""

    config_file: str = ""
    config_digest: str = ""  # "sha256:<64 hex>" of the file's values
