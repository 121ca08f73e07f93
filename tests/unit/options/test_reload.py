"""What a reload would change, and what it would refuse."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from broker.options import Options, Secret, User
from broker.options import reload as reload_rules
from broker.options.reload import plan, refusal
from broker.options.secret import Url
from broker.options.sections import (
    AuthCallout,
    ClusterOptions,
    CompressionOptions,
    GatewayOptions,
    LeafnodeOptions,
    RemoteLeafnode,
    ResolverOptions,
    TlsOptions,
    WebsocketOptions,
)


def texts(old: Options, new: Options) -> list[str]:
    return [change.text for change in plan(old, new)]


def test_every_option_has_exactly_one_rule() -> None:
    rules = [
        *reload_rules._REFUSED,
        *reload_rules._APPLIED,
        *reload_rules._IGNORED,
        *reload_rules._SPECIAL,
    ]
    assert sorted(rules) == sorted(item.name for item in fields(Options))


def test_the_same_is_no_change() -> None:
    old = Options(
        users=[User("a", Secret("x")), User("b")],
        tls=TlsOptions(cert_file="c"),
        cluster=ClusterOptions(port=1),
    )
    new = Options(
        users=[User("b"), User("a", Secret("x"))],  # the order means nothing
        tls=TlsOptions(cert_file="c"),
        cluster=ClusterOptions(port=-1),
        port=-1,
        config_digest="sha256:1",
    )
    assert plan(old, new) == []


@pytest.mark.parametrize(
    ("field", "before", "after", "text"),
    [
        ("debug", False, True, "debug = true"),
        ("trace", True, False, "trace = false"),
        ("max_payload", 1, 1000, "max_payload = 1000"),
        ("ping_interval", 1.0, 90.0, "ping_interval = 1m30s"),
        ("ping_max", 1, 2, "ping_max = 2"),
        ("write_deadline", 1.0, 0.5, "write_deadline = 500ms"),
        ("auth_timeout", 1.0, 2.5, "authorization timeout = 2.5"),
        ("log_file", "", "/a", "log_file = /a"),
        ("server_tags", [], ["a"], "tags"),
        ("users", [User("a", Secret("1"))], [User("a", Secret("2"))], "authorization users"),
        ("password", Secret("1"), Secret("2"), "authorization password"),
        ("no_fast_producer_stall", False, True, "fast producers will not be stalled"),
        ("no_fast_producer_stall", True, False, "fast producers will be stalled"),
        ("tls", None, TlsOptions(), "tls = enabled"),
        ("tls", TlsOptions(), None, "tls = disabled"),
        ("tls", TlsOptions(cert_file="a"), TlsOptions(cert_file="b"), "tls = enabled"),
        ("tls", TlsOptions(), TlsOptions(timeout=3.0), "tls timeout = 3"),
        ("tls", TlsOptions(), TlsOptions(pinned_certs=frozenset("a")), "1 pinned_certs"),
        ("tls", TlsOptions(), TlsOptions(handshake_first=True), "Client TLS handshake first: true"),
        ("trusted_proxies", ["A"], ["A", "B"], 'proxies trusted keys ["B"] were added'),
        ("no_auth_user", "gone", "", "no_auth_user"),
        ("resolver", ResolverOptions("memory"), ResolverOptions("url", "u"), "accounts"),
        ("cluster", ClusterOptions(), ClusterOptions(name="x"), "cluster"),
        ("cluster", ClusterOptions(), ClusterOptions(routes=[Url("nats", "h", 1)]), "cluster routes"),
        (
            "leafnodes",
            LeafnodeOptions(),
            LeafnodeOptions(compression=CompressionOptions("off")),
            "LeafNode Compression value is: off",
        ),
        (
            "leafnodes",
            LeafnodeOptions(),
            LeafnodeOptions(remotes=[RemoteLeafnode([Url("nats", "h", 1, "u", Secret("p"))])]),
            'LeafNode Remote urls=["nats://u:[REDACTED]@h:1"], account="$G" added',
        ),
        ("gateway", GatewayOptions(), GatewayOptions(tls=TlsOptions()), "gateway tls"),
    ],
)
def test_applied(field: str, before: Any, after: Any, text: str) -> None:
    (change,) = plan(replace(Options(), **{field: before}), replace(Options(), **{field: after}))
    assert (change.field, change.reloadable, change.text) == (field, True, f"Reloaded: {text}")


@pytest.mark.parametrize(
    ("field", "before", "after", "text"),
    [
        ("port", 4222, 4223, "Port: old=4222, new=4223"),
        ("host", "0.0.0.0", "127.0.0.1", "Host: old=0.0.0.0, new=127.0.0.1"),
        ("server_name", "a", "b", "ServerName: old=a, new=b"),
        ("max_subscriptions", 0, 10, "MaxSubs: old=0, new=10"),
        ("lame_duck_duration", 120.0, 30.0, "LameDuckDuration: old=2m0s, new=30s"),
        ("feature_flags", {}, {"b": True, "a": False}, "FeatureFlags: old=map[], new=map[a:false b:true]"),
        ("no_auth_user", "", "a", "NoAuthUser: old=, new=a"),
        ("tls", TlsOptions(), TlsOptions(verify_and_map=True), "TLSMap: old=false, new=true"),
        ("tls", TlsOptions(), TlsOptions(connection_rate_limit=5), "TLSRateLimit: old=0, new=5"),
        ("cluster", ClusterOptions(port=1), ClusterOptions(port=2), "cluster port: old=1, new=2"),
        ("gateway", GatewayOptions(port=1), GatewayOptions(port=2), "Gateway: old={port:1}, new={port:2}"),
        (
            "websocket",
            WebsocketOptions(token=Secret("a")),
            WebsocketOptions(token=Secret("b"), handshake_timeout=2.0),
            "Websocket: old={handshake_timeout:0s token:[REDACTED]}, "
            "new={handshake_timeout:2s token:[REDACTED]}",
        ),
        ("leafnodes", LeafnodeOptions(), LeafnodeOptions(host="a"), 'LeafNode: field "host": old=, new=a'),
        (
            "auth_callout",
            None,
            AuthCallout("A"),
            "AuthCallout: old=<nil>, new={issuer:A account:$G auth_users:[] xkey: allowed_accounts:[]}",
        ),
    ],
)
def test_refused(field: str, before: Any, after: Any, text: str) -> None:
    changes = plan(replace(Options(), **{field: before}), replace(Options(), **{field: after}))
    assert changes[0].field == field
    assert refusal(changes) == f"config reload not supported for {text}"


def test_no_auth_user_stays_while_its_user_does() -> None:
    users = [User("a")]
    assert refusal(plan(Options(users=users, no_auth_user="a"), Options(users=users)))


def test_no_way_to_or_from_a_resolver() -> None:
    expected = "config reload does not support moving to or from an account resolver"
    some = ResolverOptions("memory")
    assert refusal(plan(Options(), Options(resolver=some))) == expected
    assert refusal(plan(Options(resolver=some), Options())) == expected


def test_what_is_left_open_stays() -> None:
    old = Options(port=5, http_port=6, workers=7)
    assert plan(old, Options(port=-1, http_port=-1, workers=0)) == []
    assert refusal(plan(Options(), Options(http_port=-1))).endswith("HTTPPort: old=0, new=-1")
    assert refusal(plan(old, Options(port=5, http_port=6, workers=8))).endswith("Workers: old=7, new=8")


def test_all_changes_are_told() -> None:
    old, new = Options(), Options(port=1, max_pending=2, debug=True)
    assert texts(old, new) == [
        "config reload not supported for Port: old=4222, new=1",
        "config reload not supported for MaxPending: old=67108864, new=2",
        "Reloaded: debug = true",
    ]
    assert refusal(plan(Options(), Options(debug=True))) == ""


def test_remotes_come_and_go() -> None:
    one, two = RemoteLeafnode([Url("nats", "a", 1)]), RemoteLeafnode([Url("nats", "b", 1)])
    disabled = replace(one, disabled=True)
    hub = replace(one, hub=True)
    assert texts(Options(leafnodes=LeafnodeOptions(remotes=[one, two])), _remotes(disabled)) == [
        'Reloaded: LeafNode Remote urls=["nats://a:1"], account="$G" changed',
        'Reloaded: LeafNode Remote urls=["nats://b:1"], account="$G" removed',
    ]
    assert refusal(plan(_remotes(one), _remotes(hub))) == (
        'config reload not supported for LeafNode: remote urls=["nats://a:1"], account="$G": '
        'field "hub": old=false, new=true'
    )


def _remotes(*remotes: RemoteLeafnode) -> Options:
    return Options(leafnodes=LeafnodeOptions(remotes=list(remotes)))
