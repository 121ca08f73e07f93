"""The typed sections of a configuration: what stands between braces in the file.

As everywhere in ``Options``: plain, picklable data, times in seconds, sizes in bytes, 0 or empty for "not set"
unless said otherwise. A process that uses none of these sections never loads this module.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from broker.options.secret import Secret, Url
from broker.options.users import GLOBAL_ACCOUNT, Permissions, User

DEFAULT_TLS_TIMEOUT: Final = 2.0
HANDSHAKE_FIRST_FALLBACK: Final = 0.05  # what ``handshake_first: auto`` waits for

WriteTimeout = Literal["default", "close", "retry"]
Compression = Literal["", "off", "accept", "s2_fast", "s2_better", "s2_best", "s2_auto", "s2_uncompressed"]


# -- TLS --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class TlsCertificate:
    """A certificate chain and its key, as files."""

    cert_file: str
    key_file: str


@dataclass(slots=True)
class TlsOptions:
    """A ``tls`` block. The files have been read once, to check them; what is kept is where they are.

    A listener asks for a certificate of its own (``certificates``, at least one entry). ``handshake_first`` with
    a ``handshake_first_fallback`` above zero means: wait so long for the peer to begin, then send INFO in the
    clear as usual.
    """

    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    certs: list[TlsCertificate] = field(default_factory=list)  # instead of cert_file and key_file
    verify: bool = False  # ask for a certificate of the peer; also with the next two
    verify_and_map: bool = False
    verify_cert_and_check_known_urls: bool = False
    insecure: bool = False  # outgoing connections do not check the peer's certificate
    timeout: float = DEFAULT_TLS_TIMEOUT
    cipher_suites: list[str] = field(default_factory=list)  # IANA names; empty: the defaults
    curve_preferences: list[str] = field(default_factory=list)  # nats-server's names; empty: the defaults
    min_version: Literal["1.2", "1.3"] = "1.2"
    allow_insecure_cipher_suites: bool = False
    handshake_first: bool = False
    handshake_first_fallback: float = 0.0
    connection_rate_limit: int = 0  # handshakes a second; 0: no limit
    ocsp_peer: bool = False  # ask the authority about the certificate of each peer
    pinned_certs: frozenset[str] = frozenset()  # SHA-256 of public keys, lower-case hexadecimal

    @property
    def certificates(self) -> list[TlsCertificate]:
        """The pairs of certificate and key files, however they were given."""
        return self.certs or ([TlsCertificate(self.cert_file, self.key_file)] if self.cert_file else [])


# -- accounts ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class MapDestination:
    """One target of a mapping, which gets ``weight`` percent of the messages (of those from ``cluster``, if given)."""

    subject: str
    weight: int = 100
    cluster: str = ""


@dataclass(slots=True)
class SubjectMapping:
    """Messages to ``source`` go to one of the destinations instead."""

    source: str
    destinations: list[MapDestination] = field(default_factory=list)


@dataclass(slots=True)
class AccountLimits:
    """Limits of an account; -1 means none."""

    max_connections: int = -1
    max_subscriptions: int = -1
    max_payload: int = -1
    max_leafnodes: int = -1


@dataclass(slots=True)
class Export:
    """What an account offers to others: a stream or a service. ``accounts`` None means to all of them."""

    kind: Literal["stream", "service"]
    subject: str
    accounts: list[str] | None = None
    response_type: Literal["single", "stream", "chunked"] = "single"
    response_threshold: float = 0.0
    latency_subject: str = ""
    latency_sampling: int = 0  # percent; -1: where a header asks for it
    account_token_position: int = 0
    allow_trace: bool = False


@dataclass(slots=True)
class Import:
    """What an account takes from another one's exports."""

    kind: Literal["stream", "service"]
    account: str
    subject: str
    to: str = ""
    prefix: str = ""
    share: bool = False
    allow_trace: bool = False


@dataclass(slots=True)
class AccountOptions:
    """One account of the ``accounts`` section. Its users are among those of ``Options``, which name their account."""

    name: str
    nkey: str = ""
    exports: list[Export] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    mappings: list[SubjectMapping] = field(default_factory=list)
    limits: AccountLimits = field(default_factory=AccountLimits)
    trace_dest: str = ""
    trace_sampling: int = 0
    jetstream: bool = False


@dataclass(slots=True)
class AuthCallout:
    """Who decides about connections instead of this configuration."""

    issuer: str = ""
    account: str = GLOBAL_ACCOUNT
    auth_users: list[str] = field(default_factory=list)
    xkey: str = ""
    allowed_accounts: list[str] = field(default_factory=list)


# -- links to other servers -------------------------------------------------------------------------------------


@dataclass(slots=True)
class CompressionOptions:
    """How a link compresses. An empty mode is the default of its kind; the thresholds are those of ``s2_auto``."""

    mode: Compression = ""
    rtt_thresholds: list[float] = field(default_factory=list)


@dataclass(slots=True)
class ClusterOptions:
    """The ``cluster`` section: routes to the other servers of the cluster."""

    name: str = ""
    host: str = ""
    port: int = 0  # 0: no listener
    username: str = ""
    password: Secret | None = None
    auth_timeout: float = 0.0
    permissions: Permissions | None = None  # publish: what may be imported; subscribe: what may be exported
    tls: TlsOptions | None = None
    routes: list[Url] = field(default_factory=list)
    advertise: str = ""
    no_advertise: bool = False
    connect_retries: int = 0
    connect_backoff: bool = False
    pool_size: int = 0  # 0: the default (3)
    accounts: list[str] = field(default_factory=list)
    compression: CompressionOptions = field(default_factory=CompressionOptions)
    ping_interval: float = 0.0
    ping_max: int = 0
    write_deadline: float = 0.0
    write_timeout: WriteTimeout = "default"


@dataclass(slots=True)
class RemoteGateway:
    """Another cluster of the supercluster."""

    name: str = ""
    urls: list[Url] = field(default_factory=list)
    tls: TlsOptions | None = None


@dataclass(slots=True)
class GatewayOptions:
    """The ``gateway`` section: links to other clusters."""

    name: str = ""
    host: str = ""
    port: int = 0
    username: str = ""
    password: Secret | None = None
    auth_timeout: float = 0.0
    tls: TlsOptions | None = None
    advertise: str = ""
    connect_retries: int = 0
    connect_backoff: bool = False
    reject_unknown_cluster: bool = False
    gateways: list[RemoteGateway] = field(default_factory=list)
    write_deadline: float = 0.0
    write_timeout: WriteTimeout = "default"


@dataclass(slots=True)
class ProxyOptions:
    """An HTTP proxy for the WebSocket connection of a remote."""

    url: str = ""
    username: str = ""
    password: Secret | None = None
    timeout: float = 0.0


@dataclass(slots=True)
class RemoteLeafnode:
    """A server that this one connects to as a leaf."""

    urls: list[Url] = field(default_factory=list)
    account: str = ""
    credentials: str = ""  # a file
    nkey: Secret | None = None  # a seed
    tls: TlsOptions | None = None
    hub: bool = False
    deny_imports: list[str] = field(default_factory=list)
    deny_exports: list[str] = field(default_factory=list)
    no_randomize: bool = False
    ws_compression: bool = False
    ws_no_masking: bool = False
    compression: CompressionOptions = field(default_factory=CompressionOptions)
    first_info_timeout: float = 0.0
    disabled: bool = False
    proxy: ProxyOptions | None = None
    isolate_leafnode_interest: bool = False
    request_isolation: bool = False
    ignore_discovered_servers: bool = False
    jetstream_cluster_migrate: bool = False


@dataclass(slots=True)
class LeafnodeOptions:
    """The ``leafnodes`` section: leaves of this server, and hubs that it is a leaf of."""

    host: str = ""
    port: int = 0
    username: str = ""
    password: Secret | None = None
    nkey: str = ""
    account: str = ""
    users: list[User] = field(default_factory=list)
    auth_timeout: float = 0.0
    proxy_required: bool = False
    tls: TlsOptions | None = None
    advertise: str = ""
    no_advertise: bool = False
    reconnect: float = 1.0
    min_version: str = ""
    compression: CompressionOptions = field(default_factory=CompressionOptions)
    isolate_leafnode_interest: bool = False
    remotes: list[RemoteLeafnode] = field(default_factory=list)
    write_deadline: float = 0.0
    write_timeout: WriteTimeout = "default"


@dataclass(slots=True)
class WebsocketOptions:
    """The ``websocket`` section."""

    host: str = ""
    port: int = 0
    advertise: str = ""
    no_tls: bool = False
    tls: TlsOptions | None = None
    same_origin: bool = False
    allowed_origins: list[str] = field(default_factory=list)
    handshake_timeout: float = 0.0
    compression: bool = False
    username: str = ""
    password: Secret | None = None
    token: Secret | None = None
    auth_timeout: float = 0.0
    proxy_required: bool = False
    jwt_cookie: str = ""
    user_cookie: str = ""
    pass_cookie: str = ""
    token_cookie: str = ""
    no_auth_user: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    ping_interval: float = 0.0


@dataclass(slots=True)
class ResolverOptions:
    """Where account claims come from."""

    kind: Literal["memory", "url", "full", "cache"]
    url: str = ""
    directory: str = ""
    allow_delete: bool = False
    hard_delete: bool = False
    limit: int = 0
    ttl: float = 0.0
    interval: float = 0.0
    timeout: float = 0.0
