"""The typed options of one server: what a checked configuration is, once its text is forgotten.

Everything here is plain, picklable data: the supervisor builds one ``Options`` from the configuration file
and the command line and hands the same value to every worker. Defaults are those of nats-server 2.14. Nothing
in this module parses anything, so that a process which only needs the types pays nothing for the parser.

Strings from a file or the command line may hold bytes that are not UTF-8, as surrogate escapes (PEP 383).
Whoever needs the bytes has to encode with ``surrogateescape``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from broker.options.secret import Secret, Url
from broker.options.users import (
    GLOBAL_ACCOUNT,
    NkeyUser,
    Permissions,
    ResponsePermission,
    SubjectList,
    User,
)

if TYPE_CHECKING:
    from broker.options.sections import (
        AccountOptions,
        AuthCallout,
        ClusterOptions,
        GatewayOptions,
        LeafnodeOptions,
        ResolverOptions,
        SubjectMapping,
        TlsOptions,
        WebsocketOptions,
        WriteTimeout,
    )

DEFAULT_HOST: Final = "0.0.0.0"
DEFAULT_PORT: Final = 4222
DEFAULT_AUTH_TIMEOUT: Final = 2.0
DEFAULT_MAX_PAYLOAD: Final = 1024 * 1024
DEFAULT_MAX_PENDING: Final = 64 * 1024 * 1024
MAX_WORKERS: Final = 256

LogFormat = Literal["text", "json"]

__all__ = [
    "DEFAULT_AUTH_TIMEOUT",
    "DEFAULT_HOST",
    "DEFAULT_MAX_PAYLOAD",
    "DEFAULT_MAX_PENDING",
    "DEFAULT_PORT",
    "GLOBAL_ACCOUNT",
    "MAX_WORKERS",
    "LogFormat",
    "NkeyUser",
    "Options",
    "Permissions",
    "ResponsePermission",
    "Secret",
    "SubjectList",
    "Url",
    "User",
]


@dataclass(slots=True)
class Options:
    """Every setting of one server. Times are seconds, sizes are bytes, 0 means "no limit" unless said
    otherwise.

    Fields bear the names of the options in a file. Sections that are None were not in it.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT  # -1: any free port
    server_name: str = ""  # empty: the server's id
    server_tags: list[str] = field(default_factory=list)  # lower case, no repetitions
    server_metadata: dict[str, str] = field(default_factory=dict)
    feature_flags: dict[str, bool] = field(default_factory=dict)
    client_advertise: str = ""
    workers: int = 0  # 0: one for each usable core

    max_connections: int = 65536  # 0 or less refuses every client, as nats-server 2.14 does
    max_subscriptions: int = 0
    max_sub_tokens: int = 0
    max_control_line: int = 4096
    max_payload: int = DEFAULT_MAX_PAYLOAD  # -1: no limit
    max_pending: int = DEFAULT_MAX_PENDING
    max_closed_clients: int = 10000
    ping_interval: float = 120.0
    ping_max: int = 2
    write_deadline: float = 10.0
    write_timeout: WriteTimeout = "default"
    no_fast_producer_stall: bool = False
    no_header_support: bool = False
    disable_sublist_cache: bool = False
    sublist_cache_size: int = 8192
    lame_duck_duration: float = 120.0
    lame_duck_grace_period: float = 10.0
    connect_error_reports: int = 3600
    reconnect_error_reports: int = 1

    debug: bool = False
    trace: bool = False
    trace_verbose: bool = False
    trace_headers: bool = False
    max_traced_msg_len: int = 0  # 0: all of a message is shown
    logtime: bool = True
    logtime_utc: bool = False
    log_format: LogFormat = "text"  # ours: "json" writes each line as a JSON object
    log_file: str = ""  # empty: standard error
    log_size_limit: int = 0  # 0: the file is never rotated
    log_max_num: int = 0  # files that are kept, with the one being written; 0: all
    syslog: bool = False
    remote_syslog: str = ""  # udp://host:port; the default is the local one
    pid_file: str = ""
    ports_file_dir: str = ""

    http_host: str = ""  # of both monitoring ports; when loaded, that of the clients by default
    http_port: int = 0  # 0: none, -1: any free port
    https_port: int = 0
    http_base_path: str = ""  # empty, or with a slash in front and none behind
    prof_port: int = 0
    prof_block_rate: int = 0

    tls: TlsOptions | None = None
    allow_non_tls: bool = False
    proxy_protocol: bool = False
    trusted_proxies: list[str] = field(default_factory=list)  # public nkeys

    username: str = ""
    password: Secret | None = None
    token: Secret | None = None
    auth_timeout: float = DEFAULT_AUTH_TIMEOUT  # with TLS the default is that of TLS and one second
    users: list[User] = field(default_factory=list)  # users and nkeys outrank username, password and token
    nkeys: list[NkeyUser] = field(default_factory=list)
    default_permissions: Permissions | None = None  # given to users and nkeys already; not to ``username``
    no_auth_user: str = ""
    places: dict[str, int] = field(default_factory=dict)  # the server's own, see ``account_places``
    implied_user: bool = False  # ``no_auth_user`` is the server's own invention, see ``with_implied_user``
    proxy_required: bool = False  # for ``username``
    auth_callout: AuthCallout | None = None

    accounts: list[AccountOptions] = field(default_factory=list)
    mappings: list[SubjectMapping] = field(default_factory=list)  # of the global account
    system_account: str = ""  # empty: $SYS
    no_system_account: bool = False
    operators: list[str] = field(default_factory=list)  # files or JWTs
    trusted_keys: list[str] = field(default_factory=list)
    resolver: ResolverOptions | None = None
    resolver_preload: dict[str, str] = field(default_factory=dict)  # account's public key to JWT
    resolver_pinned_accounts: list[str] = field(default_factory=list)
    resolver_tls: TlsOptions | None = None
    default_sentinel: str = ""

    cluster: ClusterOptions | None = None
    gateway: GatewayOptions | None = None
    leafnodes: LeafnodeOptions | None = None
    websocket: WebsocketOptions | None = None
    foreign: list[str] = field(
        default_factory=list
    )  # features asked for that have no field here, such as JetStream

    config_file: str = ""
    config_digest: str = ""  # "sha256:<64 hex>" of the file's values
