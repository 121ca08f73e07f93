"""What a client is told when something is wrong, and under which reason its end is recorded.

The texts are nats-server's, letter for letter: clients compare them (some in lower case, by prefix). A text
goes out as ``-ERR '<text>'``. Whether it also closes the connection is said by the group it stands in.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from broker.options.gotext import quote

# These close the connection.
UNKNOWN_PROTOCOL_OPERATION: Final = "Unknown Protocol Operation"
AUTHORIZATION_VIOLATION: Final = "Authorization Violation"
AUTHENTICATION_TIMEOUT: Final = "Authentication Timeout"
USER_AUTHENTICATION_EXPIRED: Final = "User Authentication Expired"
ACCOUNT_AUTHENTICATION_EXPIRED: Final = "Account Authentication Expired"
USER_AUTHENTICATION_REVOKED: Final = "User Authentication Revoked"
MAXIMUM_PAYLOAD_VIOLATION: Final = "Maximum Payload Violation"
MAXIMUM_CONTROL_LINE: Final = "maximum control line exceeded"
MAXIMUM_CONNECTIONS: Final = "maximum connections exceeded"
MAXIMUM_ACCOUNT_CONNECTIONS: Final = "maximum account active connections exceeded"
INVALID_CLIENT_PROTOCOL: Final = "invalid client protocol"
NO_RESPONDERS_REQUIRES_HEADERS: Final = "no responders requires headers support"
STALE_CONNECTION: Final = "Stale Connection"
SECURE_CONNECTION_REQUIRED: Final = "Secure Connection - TLS Required"
FAILED_ACCOUNT_REGISTRATION: Final = "Failed Account Registration"
ROUTE_PORT: Final = "attempted to connect to route port"
LEAF_NODE_PORT: Final = "attempted to connect to leaf node port"
GATEWAY_PORT: Final = "attempted to connect to gateway port"

# These do not.
INVALID_SUBJECT: Final = "Invalid Subject"
INVALID_PUBLISH_SUBJECT: Final = "Invalid Publish Subject"
MAXIMUM_SUBSCRIPTIONS: Final = "maximum subscriptions exceeded"


def publish_violation(subject: str) -> str:
    """The user may not publish to ``subject``. Like every permissions violation it does not close."""
    return f"Permissions Violation for Publish to {quote(subject)}"


def reply_violation(reply: str) -> str:
    """The user may not publish with this reply subject."""
    return f"Permissions Violation for Publish with Reply of {quote(reply)}"


def subscription_violation(subject: str, queue: str = "") -> str:
    """The user may not subscribe to ``subject`` (as a member of ``queue``)."""
    text = f"Permissions Violation for Subscription to {quote(subject)}"
    return f"{text} using queue {quote(queue)}" if queue else text


def tokens_violation(subject: str) -> str:
    """``subject`` has more tokens than ``max_sub_tokens`` allows."""
    return f"Permissions Violation for Subscription to {quote(subject)}, too many tokens"


def subscription_revoked(subject: str, sid: str) -> str:
    """A subscription was removed because a reload took the permission for it."""
    return f"Permissions Violation for Subscription to {quote(subject)} (sid {quote(sid)})"


class ClosedReason(IntEnum):
    """Why a connection ended. The data plane uses the same numbers (``closed_reason`` in ``csrc/core.h``)."""

    CLIENT_CLOSED = 1
    AUTHENTICATION_TIMEOUT = 2
    AUTHENTICATION_FAILURE = 3
    TLS_HANDSHAKE_FAILURE = 4
    SLOW_CONSUMER_PENDING_BYTES = 5
    SLOW_CONSUMER_WRITE_DEADLINE = 6
    WRITE_ERROR = 7
    READ_ERROR = 8
    PARSE_ERROR = 9
    STALE_CONNECTION = 10
    PROTOCOL_VIOLATION = 11
    BAD_CLIENT_PROTOCOL_VERSION = 12
    INCORRECT_PORT = 13
    MAXIMUM_ACCOUNT_CONNECTIONS_EXCEEDED = 14
    MAXIMUM_CONNECTIONS_EXCEEDED = 15
    MAXIMUM_MESSAGE_PAYLOAD_EXCEEDED = 16
    MAXIMUM_CONTROL_LINE_EXCEEDED = 17
    MAXIMUM_SUBSCRIPTIONS_EXCEEDED = 18
    DUPLICATE_ROUTE = 19
    ROUTE_REMOVED = 20
    SERVER_SHUTDOWN = 21
    AUTHENTICATION_EXPIRED = 22
    WRONG_GATEWAY = 23
    MISSING_ACCOUNT = 24
    CREDENTIALS_REVOKED = 25
    INTERNAL_CLIENT = 26
    MESSAGE_HEADER_VIOLATION = 27
    NO_RESPONDERS_REQUIRES_HEADERS = 28
    CLUSTER_NAME_CONFLICT = 29
    DUPLICATE_REMOTE_LEAFNODE_CONNECTION = 30
    DUPLICATE_CLIENT_ID = 31
    DUPLICATE_SERVER_NAME = 32
    MINIMUM_VERSION_REQUIRED = 33
    CLUSTER_NAMES_IDENTICAL = 34
    KICKED = 35
    PROXY_NOT_TRUSTED = 36
    PROXY_REQUIRED = 37

    @property
    def text(self) -> str:
        """What monitoring, logs and disconnect events show."""
        return _TEXTS[self]


UNKNOWN_STATE: Final = "Unknown State"
_TEXTS: Final = (
    UNKNOWN_STATE,
    "Client Closed",
    "Authentication Timeout",
    "Authentication Failure",
    "TLS Handshake Failure",
    "Slow Consumer (Pending Bytes)",
    "Slow Consumer (Write Deadline)",
    "Write Error",
    "Read Error",
    "Parse Error",
    "Stale Connection",
    "Protocol Violation",
    "Bad Client Protocol Version",
    "Incorrect Port",
    "Maximum Account Connections Exceeded",
    "Maximum Connections Exceeded",
    "Maximum Message Payload Exceeded",
    "Maximum Control Line Exceeded",
    "Maximum Subscriptions Exceeded",
    "Duplicate Route",
    "Route Removed",
    "Server Shutdown",
    "Authentication Expired",
    "Wrong Gateway",
    "Missing Account",
    "Credentials Revoked",
    "Internal Client",
    "Message Header Violation",
    "No Responders Requires Headers",
    "Cluster Name Conflict",
    "Duplicate Remote LeafNode Connection",
    "Duplicate Client ID",
    "Duplicate Server Name",
    "Minimum Version Required",
    "Cluster Names Identical",
    "Kicked",
    "Proxy Not Trusted",
    "Proxy Required",
)


def reason_text(number: int) -> str:
    """The text of a reason number; ``Unknown State`` for a number that names none."""
    return _TEXTS[number] if 0 < number < len(_TEXTS) else UNKNOWN_STATE
