"""What endpoints of monitoring can be asked for, one object each, whichever way the question comes.

It comes as the parameters of an HTTP request (``of_query``), or as the JSON body of a request to the system account
(``broker/system/body.py``). The names of fields are those of the body, or in their metadata; there is also what nats-server calls
their type when it complains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from broker.monitor.query import Query, QueryError

DEFAULT_LIMIT: Final = 1024
OPEN, CLOSED, ALL = 0, 1, 2  # CONNZ's states

_STATES: Final = {"": OPEN, "open": OPEN, "closed": CLOSED, "any": ALL, "all": ALL}


def _meta(*, name: str = "", kind: str = "") -> Mapping[str, Any]:
    return {"name": name, "kind": kind}


def page(offset: int, limit: int) -> tuple[int, int]:
    """Both usable as they are."""
    return max(offset, 0), limit if limit > 0 else DEFAULT_LIMIT


@dataclass(slots=True, frozen=True)
class VarzOptions:
    """/varz."""

    @classmethod
    def of_query(cls, query: Query) -> VarzOptions:
        """From parameters."""
        return cls()


@dataclass(slots=True, frozen=True)
class ConnzOptions:
    """/connz."""

    sort: str = field(default="", metadata=_meta(kind="server.SortOpt"))
    auth: bool = False
    subscriptions: bool = False
    subscriptions_detail: bool = False
    offset: int = 0
    limit: int = 0
    cid: int = field(default=0, metadata=_meta(kind="uint64"))
    mqtt_client: str = ""
    state: int = field(default=OPEN, metadata=_meta(kind="server.ConnState"))
    user: str = ""
    acc: str = ""
    filter_subject: str = ""  # not over HTTP

    @classmethod
    def of_query(cls, query: Query) -> ConnzOptions:
        """From parameters. Raises QueryError."""
        sort, auth = query.text("sort"), query.flag("auth")
        subs, detail = query.subs()
        offset, limit = query.number("offset"), query.number("limit")
        cid = query.unsigned("cid")
        state = _STATES.get(query.text("state").lower())
        if state is None:
            raise QueryError(f"Error decoding state for {query.text('state')}")
        return cls(
            sort,
            auth,
            subs,
            detail,
            offset,
            limit,
            cid,
            query.text("mqtt_client"),
            state,
            query.text("user"),
            query.text("acc"),
        )


@dataclass(slots=True, frozen=True)
class SubszOptions:
    """/subsz."""

    offset: int = 0
    limit: int = 0
    subscriptions: bool = False
    account: str = ""
    test: str = ""

    @classmethod
    def of_query(cls, query: Query) -> SubszOptions:
        """From parameters. Raises QueryError."""
        subs, offset, limit = query.flag("subs"), query.number("offset"), query.number("limit")
        return cls(offset, limit, subs, query.text("acc"), query.text("test"))


@dataclass(slots=True, frozen=True)
class RoutezOptions:
    """/routez."""

    subscriptions: bool = False
    subscriptions_detail: bool = False

    @classmethod
    def of_query(cls, query: Query) -> RoutezOptions:
        """From parameters. Raises QueryError."""
        return cls(*query.subs())


@dataclass(slots=True, frozen=True)
class GatewayzOptions:
    """/gatewayz."""

    name: str = ""
    accounts: bool = False
    account_name: str = ""
    subscriptions: bool = False
    subscriptions_detail: bool = False

    @classmethod
    def of_query(cls, query: Query) -> GatewayzOptions:
        """From parameters. Raises QueryError."""
        subs, detail = query.subs()
        return cls(query.text("gw_name"), query.flag("accs"), query.text("acc_name"), subs, detail)


@dataclass(slots=True, frozen=True)
class LeafzOptions:
    """/leafz."""

    subscriptions: bool = False
    account: str = ""

    @classmethod
    def of_query(cls, query: Query) -> LeafzOptions:
        """From parameters. Raises QueryError."""
        return cls(query.flag("subs"), query.text("acc"))


@dataclass(slots=True, frozen=True)
class AccountzOptions:
    """/accountz."""

    account: str = ""

    @classmethod
    def of_query(cls, query: Query) -> AccountzOptions:
        """From parameters."""
        return cls(query.text("acc"))


@dataclass(slots=True, frozen=True)
class AccountStatzOptions:
    """/accstatz."""

    accounts: tuple[str, ...] = ()  # none: all
    include_unused: bool = False

    @classmethod
    def of_query(cls, query: Query) -> AccountStatzOptions:
        """From parameters. Raises QueryError."""
        return cls(include_unused=query.flag("unused"))


@dataclass(slots=True, frozen=True)
class JSzOptions:
    """/jsz. Without JetStream they change nothing, but what is wrong with them is said."""

    account: str = ""
    accounts: bool = False
    streams: bool = False
    consumer: bool = False
    direct_consumer: bool = False
    config: bool = False
    leader_only: bool = False
    offset: int = 0
    limit: int = 0
    raft: bool = False
    stream_leader_only: bool = False

    @classmethod
    def of_query(cls, query: Query) -> JSzOptions:
        """From parameters."""
        return cls()


@dataclass(slots=True, frozen=True)
class HealthzOptions:
    """/healthz."""

    js_enabled: bool = field(default=False, metadata=_meta(name="js-enabled"))
    js_enabled_only: bool = field(default=False, metadata=_meta(name="js-enabled-only"))
    js_server_only: bool = field(default=False, metadata=_meta(name="js-server-only"))
    js_meta_only: bool = field(default=False, metadata=_meta(name="js-meta-only"))
    account: str = ""
    stream: str = ""
    consumer: str = ""
    details: bool = False

    @classmethod
    def of_query(cls, query: Query) -> HealthzOptions:
        """From parameters. Raises QueryError."""
        return cls(
            query.flag("js-enabled"),
            query.flag("js-enabled-only"),
            query.flag("js-server-only"),
            query.flag("js-meta-only"),
            query.text("account"),
            query.text("stream"),
            query.text("consumer"),
            query.flag("details"),
        )


@dataclass(slots=True, frozen=True)
class ProcesszOptions:
    """/processz."""

    history: bool = False
    accounts: int = 0  # how many of those with the most traffic

    @classmethod
    def of_query(cls, query: Query) -> ProcesszOptions:
        """From parameters. Raises QueryError."""
        return cls(query.flag("history"), query.number("accounts"))
