"""What a configuration sets: every option, its type, its default, and that no secret of it shows."""

from __future__ import annotations

import pickle
import time
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.options import Options, Secret, load, parse_command_line, validate_start
from broker.options.effective import effective_text
from broker.options.features import start_warnings, unsupported_features
from broker.options.secret import MASK, Url
from broker.options.sections import MapDestination, SubjectMapping, TlsOptions

from .conftest import LoadText
from .test_same_as_nats_server import GOOD, folder  # noqa: F401 (a fixture)

NKEY = "UBO2MQV67TQTVIRV3XFTEZOACM4WLOCMCDMAWN5QVN5PI2N6JHTVDRON"

# Text of a file to the fields that it sets.
SETS: dict[str, dict[str, object]] = {
    'listen: "a:1"': {"host": "a", "port": 1},
    "host: a\nlisten: 1": {"host": "0.0.0.0", "port": 1},
    "port: 0": {"port": 4222},
    "port: -1": {"port": -1},
    "net: a": {"host": "a"},
    "client_advertise: b": {"client_advertise": "b"},
    "server_name: n": {"server_name": "n"},
    'server_tags: " Az:B "': {"server_tags": ["az:b"]},
    "server_tags: [a, A, b]": {"server_tags": ["a", "b"]},
    "server_metadata { a: b }": {"server_metadata": {"a": "b"}},
    "feature_flags { a: off }": {"feature_flags": {"a": False}},
    "http: 8222": {"http_host": "0.0.0.0", "http_port": 8222},
    'http: "h:8222"\nhttps_port: 1': {"http_host": "h", "http_port": 8222, "https_port": 1},
    'https: "h:1"': {"http_host": "h", "https_port": 1},
    "monitor_port: -1": {"http_port": -1},
    "http_base_path: a/b/": {"http_base_path": "/a/b"},
    'http_base_path: "/"': {"http_base_path": ""},
    "max_conn: 0": {"max_connections": 0},
    "max_subs: 5": {"max_subscriptions": 5},
    "max_sub_tokens: 255": {"max_sub_tokens": 255},
    "max_control_line: 1kb": {"max_control_line": 1024},
    "max_payload: 1k": {"max_payload": 1000},
    "max_pending: 1g": {"max_pending": 10**9},
    "max_closed_clients: 0": {"max_closed_clients": 10000},
    "max_traced_msg_len: 7": {"max_traced_msg_len": 7},
    'ping_interval: "1m30s"\nping_max: 0': {"ping_interval": 90.0, "ping_max": 2},
    "write_deadline: 500ms": {"write_deadline": 0.5},
    "write_timeout: close": {"write_timeout": "close"},
    "no_fast_producer_stall: on": {"no_fast_producer_stall": True},
    'lame_duck_duration: "1m"': {"lame_duck_duration": 60.0},
    'lame_duck_grace_period: "1s"': {"lame_duck_grace_period": 1.0},
    "connect_error_reports: 1\nreconnect_error_reports: 2": {
        "connect_error_reports": 1,
        "reconnect_error_reports": 2,
    },
    "trace_verbose: true": {"trace_verbose": True, "trace": True},
    "trace_headers: true": {"trace_headers": True, "trace": True},
    "logtime: false\nlogtime_utc: true": {"logtime": False, "logtime_utc": True},
    "log_format: json": {"log_format": "json"},
    "logfile: a\nlogfile_size_limit: 1k\nlogfile_max_num: 2": {
        "log_file": "a",
        "log_size_limit": 1000,
        "log_max_num": 2,
    },
    'syslog: true\nremote_syslog: "udp://h:1"': {"syslog": True, "remote_syslog": "udp://h:1"},
    "pidfile: p\nports_file_dir: d": {"pid_file": "p", "ports_file_dir": "d"},
    "proxy_protocol: true": {"proxy_protocol": True},
    f"proxies {{ trusted: [ {{ public_key: {NKEY} }} ] }}": {"trusted_proxies": [NKEY]},
    "authorization { user: a, password: b }": {"username": "a", "password": Secret("b"), "auth_timeout": 2.0},
    "authorization { token: a, timeout: 1.5 }": {"token": Secret("a"), "auth_timeout": 1.5},
    "tls {}": {"tls": TlsOptions(), "auth_timeout": 3.0},
    "tls { timeout: 5 }": {"tls": TlsOptions(timeout=5.0), "auth_timeout": 6.0},
    "tls { first: auto }": {"tls": TlsOptions(handshake_first=True, handshake_first_fallback=0.05)},
    'tls { first: "1s" }': {"tls": TlsOptions(handshake_first=True, handshake_first_fallback=1.0)},
    "tls { immediate: off }": {"tls": TlsOptions()},
    "tls { verify_and_map: true }": {"tls": TlsOptions(verify_and_map=True)},
    f'tls {{ pinned_certs: ["{"A0" * 32}"] }}': {"tls": TlsOptions(pinned_certs=frozenset(["a0" * 32]))},
    "maps { a: b }": {"mappings": [SubjectMapping("a", [MapDestination("b")])]},
    "no_sys_acc: true": {"no_system_account": True},
}


@pytest.mark.parametrize("text", SETS)
def test_sets(load_text: LoadText, text: str) -> None:
    loaded = load_text(text)
    assert (loaded.errors, loaded.warnings) == ([], [])
    expected = SETS[text]
    assert {name: getattr(loaded.options, name) for name in expected} == expected


def test_defaults_without_and_with_a_file(load_text: LoadText) -> None:
    from_file = load_text("port: 4222").options
    for options in (load(parse_command_line([])).options, from_file):
        different = [
            item.name
            for item in fields(Options)
            if getattr(options, item.name) != getattr(Options(), item.name)
        ]
        assert set(different) <= {"config_file", "config_digest", "http_host"}


def test_links_are_typed(folder: Path) -> None:  # noqa: F811
    options = read(GOOD["cluster"])
    assert options.cluster is not None
    assert (options.cluster.host, options.cluster.port) == ("0.0.0.0", 6222)
    assert options.cluster.routes[0] == Url("nats", "h1", 6222, "r", Secret("s"))
    assert options.cluster.compression.rtt_thresholds == [0.001, 0.005]
    assert options.cluster.password == Secret("s")
    options = read(GOOD["leafnodes"])
    assert options.leafnodes is not None
    assert options.leafnodes.reconnect == 3.0
    assert [remote.hub for remote in options.leafnodes.remotes] == [True, False, False]
    options = read(GOOD["gateway"])
    assert options.gateway is not None
    assert [gateway.name for gateway in options.gateway.gateways] == ["g", "h", "i"]
    options = read(GOOD["websocket"])
    assert options.websocket is not None
    assert (options.websocket.port, options.websocket.headers) == (8080, {"X-A": "b"})


def test_accounts_are_typed(folder: Path) -> None:  # noqa: F811
    options = read(GOOD["accounts"])
    first, second = options.accounts
    assert (first.limits.max_connections, first.limits.max_leafnodes) == (10, 1)
    assert [(user.name, user.account) for user in options.users] == [("a", "A")]
    assert [export.subject for export in first.exports] == ["a.>", "p.*", "q", "s", "r"]
    assert first.exports[1].accounts == ["B"]
    assert first.exports[2].response_threshold == 2.0
    assert [(one.kind, one.to, one.prefix) for one in second.imports] == [
        ("stream", "", "z"),
        ("service", "s", ""),
    ]
    assert first.mappings[1].destinations[1] == MapDestination("u.$1", 40)


def read(text: str) -> Options:
    """The options of a good text; ``SEED`` in it stands for the seed of a user."""
    from .test_same_as_nats_server import _seed

    Path("c.conf").write_text(text.replace("SEED", _seed()))
    loaded = load(parse_command_line(["-c", "c.conf"]))
    assert loaded.errors == []
    return loaded.options


@pytest.mark.parametrize("name", GOOD)
def test_effective_text_means_the_same(folder: Path, name: str) -> None:  # noqa: F811
    options = read(GOOD[name])
    Path("again.conf").write_text(effective_text(options, secrets=True))
    again = load(parse_command_line(["-c", "again.conf"]))
    assert (again.errors, again.warnings) == ([], [])
    for item in fields(Options):
        if item.name not in ("config_file", "config_digest"):
            assert getattr(again.options, item.name) == getattr(options, item.name), item.name


SECRETS = """
    authorization { users [ { user: u1, password: hidden1 } ] }
    accounts { A { users [ { user: u2, password: hidden2 } ] } }
    cluster { authorization { user: u, password: hidden3 }, routes: ["nats://a:hidden4@h:1", "nats://hidden5@h:1"] }
    gateway { authorization { user: u, password: hidden6 }, gateways [ { name: g, url: "nats://u:hidden7@h" } ] }
    leafnodes {
      authorization { users [ { user: u, password: hidden8 } ] }
      remotes [ { url: "nats://u:hidden9@h", proxy { url: "http://p", username: u, password: hidden10 } } ]
    }
    websocket { no_tls: true, authorization { token: hidden11 } }
"""


def test_no_secret_shows(load_text: LoadText) -> None:
    for text in (SECRETS, "authorization { token: hidden1 }", "authorization { user: u, password: hidden1 }"):
        loaded = load_text(text)
        assert loaded.errors == []
        assert "hidden" in effective_text(loaded.options, secrets=True)
        for shown in (repr(loaded.options), effective_text(loaded.options), str(loaded.options.users)):
            assert "hidden" not in shown
            assert MASK in shown or shown == "[]"


def test_secrets_survive_the_way_to_a_worker(load_text: LoadText) -> None:
    options = load_text(SECRETS).options
    assert pickle.loads(pickle.dumps(options)) == options


def test_no_field_can_be_forgotten() -> None:
    """Whatever is called like a secret is one."""
    for kind in dataclasses_of("broker.options.sections", "broker.options.users", "broker.options.model"):
        for item in fields(kind):
            if item.name in ("password", "token"):
                assert "Secret" in str(item.type), f"{kind.__name__}.{item.name}"


def dataclasses_of(*modules: str) -> list[Any]:
    from importlib import import_module

    values = [value for module in modules for value in vars(import_module(module)).values()]
    return [value for value in values if isinstance(value, type) and is_dataclass(value)]


# -- at start ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("port: 4222", []),
        ("no_system_account: true\nstore_dir: a\njetstream: disabled\nocsp: false", []),
        ("http: 1\nlog_file: a\nsyslog: on\ntls {}\nserver_tags: a\nfeature_flags {a: on}", []),
        ("proxy_protocol: on", ["proxy_protocol (PROXY protocol)"]),
        ("tls { ocsp_peer: true }", ["ocsp_peer (OCSP)"]),
        ("accounts: [A]\nsystem_account: A", []),
        ("mappings { a: b }", []),
        ("cluster {}\ngateway {}", ["cluster (routes)", "gateway (superclusters)"]),
        ("leafnodes {}\nwebsocket {no_tls: true}", ["leafnodes", "websocket"]),
        ("resolver: MEM", ["resolver (JWT authentication)"]),
        ("jetstream: on\nmqtt {}\nocsp: on", ["jetstream", "mqtt", "ocsp"]),
        ("authorization { users [ { user: a, proxy_required: on } ] }", ["proxy_required (trusted proxies)"]),
    ],
)
def test_unsupported_features(load_text: LoadText, text: str, expected: list[str]) -> None:
    loaded = load_text(text)
    assert loaded.errors == []
    assert unsupported_features(loaded.options) == expected
    line = [f"not supported yet: {', '.join(expected)}"] if expected else []
    assert [error for error in validate_start(loaded.options) if "supported" in error] == line


def test_latency_needs_a_system_account(load_text: LoadText) -> None:
    """Wherever the file says that there is none; nats-server finds it out for one order of the two only."""
    lines = ["no_sys_acc: true", "accounts { A { exports [ { service: q, latency: l } ] } }"]
    for order in (lines, lines[::-1]):
        (error,) = load_text("\n".join(order)).errors
        assert error.endswith('Error adding service latency sampling for "q": system account not setup')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'lame_duck_duration: "30s"\nlame_duck_grace_period: "30s"',
            "lame duck grace period (30s) should be strictly lower than lame duck duration (30s)",
        ),
        ("max_payload: 65mb", "max_payload (68157440) cannot be higher than max_pending (67108864)"),
        (
            "http_port: 1\nhttps_port: 2",
            "Can't start monitoring: can't specify both HTTP (1) and HTTPs (2) ports",
        ),
        ("https: 1", "Can't start monitoring: TLS cert and key required for HTTPS"),
        ("no_auth_user: a", 'no_auth_user: "a" present, but users/nkeys are not defined'),
    ],
)
def test_validate_start(load_text: LoadText, text: str, expected: str) -> None:
    assert validate_start(load_text(text).options) == [expected]


def test_start_warnings(load_text: LoadText) -> None:
    assert start_warnings(load_text("prof_port: 1\nmax_payload: 9MB").options) == [
        "Maximum payloads over 8.00 MB are generally discouraged and could lead to poor performance",
        "Profiling options are ignored: there is no Go runtime to profile",
    ]
    assert start_warnings(load_text("max_payload: 8MB").options) == []


@pytest.mark.parametrize(
    ("text", "line", "written"),
    [
        ("authorization { users: [ { user: a } ] }", "--auth t --user u", "users"),
        ("authorization { token: t }", "--user u --pass p", "token"),
        ("authorization { user: a, password: b }", "--user u", "user"),
    ],
)
def test_effective_text_of_what_only_flags_can_set(
    load_text: LoadText, text: str, line: str, written: str
) -> None:
    """A file may not have two kinds of credentials; what counts of them is written."""
    Path("again.conf").write_text(effective_text(load_text(text, *line.split()).options, secrets=True))
    again = load(parse_command_line(["-c", "again.conf"]))
    assert again.errors == []
    options = again.options
    found = {"users": options.users, "token": options.token, "user": options.username}
    assert [name for name, value in found.items() if value] == [written]


def test_ten_times_the_accounts_cost_ten_times_as_much(load_text: LoadText) -> None:
    """Reading them and writing them: a server of thousands of accounts starts as fast as it reads."""

    def seconds(count: int) -> float:
        accounts = "".join(f"A{i} {{ users: [{{ user: u{i}, password: p }}] }}\n" for i in range(count))
        began = time.process_time()
        loaded = load_text(f"accounts {{\n{accounts}}}")
        effective_text(loaded.options)
        assert loaded.errors == [] and len(loaded.options.users) == count
        return time.process_time() - began

    assert seconds(5000) < 22 * min(seconds(500), seconds(500))
