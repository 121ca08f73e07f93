"""The options of a configuration, good and bad: our verdict, message and place against nats-server's own.

Every text is given to ``nats-server -t`` and to our reader, and both have to say the same, line by line, whatever
the order (nats-server's is random), down to the digest of a good file. In a section nats-server stops at the first
value of a wrong type, so that a text here has one such value a section at most; where we go on and find more, the
text stands in ``FINDS_MORE``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from broker.options import load, parse_command_line
from broker.options import test_result as result_of_test
from broker.options.command_line import program_name
from tests.harness import REAL, command

VECTORS = Path(__file__).parent / "vectors"
USER = "UBO2MQV67TQTVIRV3XFTEZOACM4WLOCMCDMAWN5QVN5PI2N6JHTVDRON"
ACCOUNT = "ABJHLOVMPA4CI6R5KLNGOB4GSLNIY7IOUPAJC4YFNDLQVIOBYQGUWVLA"

GOOD = {
    "empty_sections": "authorization {}\ncluster {}\ngateway {}\nleafnodes {}\naccounts {}\n",
    "top_level": """
        listen: "127.0.0.1:4333"
        server_name: s1
        server_tags: [a, "B:c"]
        server_metadata { rack: "7" }
        feature_flags { one: true }
        max_conn: 10; max_subs: 100; max_control_line: 8kb; max_payload: 2MB; max_pending: 64MB
        max_closed_clients: 5, max_traced_msg_len: 100, max_sub_tokens: 16
        ping_interval: "30s"; ping_max: 3; write_deadline: 5s; write_timeout: retry
        no_fast_producer_stall: true, disable_sublist_cache: yes, no_header_support: off
        connect_error_reports: 10, reconnect_error_reports: 2
        lame_duck_duration: "1m", lame_duck_grace_period: "5s"
        client_advertise: "a.example:4222"
    """,
    "aliases": """
        net: "127.0.0.1"
        max_connections: 1, max_subscriptions: 2, max_subscription_tokens: 3
        no_sublist_cache: true, logfile: "a.log", logfile_size_limit: 1mb, logfile_max_num: 3
        pidfile: "a.pid", monitor_port: 8222, no_sys_acc: true
    """,
    "logs": """
        debug: true, trace: false, trace_verbose: true, trace_headers: true, logtime: false, logtime_utc: true
        log_file: "/tmp/a.log", log_size_limit: 10mb, log_max_num: 4, syslog: true
        remote_syslog: "udp://localhost:514"
    """,
    "files": 'pid_file: "/tmp/a.pid"\nports_file_dir: "/tmp"\nprof_port: 1\nprof_block_rate: 1\n',
    "monitoring": 'http: "localhost:8222"\nhttp_base_path: "nats"\n',
    "monitoring_port": "http: 8222\n",
    "monitoring_both": 'http_port: 8222\nhttps_port: 8223\nhttps: ":-1"\n',
    "monitoring_ipv6": 'http: "[::1]:8222"\n',
    "user": "authorization { user: a, password: b, timeout: 2.5 }\n",
    "token": 'authorization { token: "$ecret", timeout: "3s" }\n',
    "users": f"""
        authorization {{
          default_permissions {{ publish: "a.>", subscribe: ["b", "c queue"] }}
          users [
            {{ user: a, password: b, permissions {{ pub {{ allow: [x, y.*], deny: x }}, sub: ">" }} }}
            {{ username: c, pass: d, allowed_connection_types: [STANDARD, websocket, mqtt] }}
            {{ nkey: {USER}, permissions {{ allow_responses: true }} }}
            {{ user: e, permissions {{ allow_responses {{ max: 5, expires: "1m" }} }}, proxy_required: true }}
          ]
        }}
        no_auth_user: a
    """,
    "callout": f"""
        accounts {{ AUTH {{ users [ {{ user: a, password: b }} ] }}, APP {{}} }}
        authorization {{
          auth_callout {{ issuer: {ACCOUNT}, account: AUTH, auth_users: [a], allowed_accounts: [APP] }}
        }}
    """,
    "tls": """
        tls {
          cert_file: cert.pem, key_file: "key.pem", ca_file: "cert.pem", verify: true, verify_and_map: true
          timeout: 3, min_version: "1.3", handshake_first: auto, connection_rate_limit: 100
          cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256], curve_preferences: [CurveP256, X25519]
        }
        allow_non_tls: true
    """,
    "tls_pins": f'tls {{ cert_file: cert.pem, key_file: key.pem, pinned_certs: ["{"aB" * 32}"], first: "300ms" }}\n',
    "tls_certs": 'tls { certs: [ { cert_file: "cert.pem", key_file: "key.pem" } ], insecure: true }\n',
    "tls_weak": """
        tls { cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA], allow_insecure_cipher_suites: true }
    """,
    "tls_without_certificate": "tls {}\n",
    "tls_other_systems": """
        tls {
          cert_match_by: Issuer, cert_match: a, ca_certs_match: [b], cert_match_skip_invalid: true
          ocsp_peer { verify: true, ca_timeout: 2, warn_only: true }
        }
    """,
    "proxy_protocol": f"proxy_protocol: true\nproxies {{ trusted [ {{ key: {USER} }} ] }}\n",
    "accounts_by_name": "accounts: [A, B]\n",
    "accounts": f"""
        accounts {{
          A {{
            nkey: {ACCOUNT}
            users [ {{ user: a, password: b }} ]
            exports [
              {{ stream: "a.>" }}
              {{ stream: "p.*", accounts: [B] }}
              {{ service: q, threshold: "2s", latency {{ sampling: 50, subject: l }} }}
              {{ service: s, response_type: stream }}
              {{ service: r, latency: m, allow_trace: true }}
            ]
            limits {{ max_conn: 10, max_subs: 100, max_pay: 1kb, max_leafs: 1 }}
            mappings {{ x: y, "w.*": [ {{ dest: "v.$1", weight: 60 }}, {{ dest: "u.$1", weight: "40%" }} ] }}
            msg_trace {{ dest: t, sampling: 10 }}
            default_permissions {{ publish: a }}
            jetstream {{ max_mem: 1kb, max_streams: 5 }}
          }}
          B {{
            imports [
              {{ stream {{ account: A, subject: "a.b" }}, prefix: z }}
              {{ service {{ account: A, subject: q }}, to: s, share: true }}
            ]
            trace_dest: "t.b"
          }}
        }}
        system_account: B
    """,
    "mappings": 'mappings { foo: bar, "a.*.*": "b.{{wildcard(2)}}.{{partition(3,1)}}" }\n',
    "cluster": """
        cluster {
          name: c1, listen: "0.0.0.0:6222", cluster_advertise: "h:1", no_advertise: true, connect_retries: 3
          authorization { user: r, password: s, timeout: 1 }
          permissions { import: "a.>", export { deny: b } }
          routes: ["nats://r:s@h1:6222", "nats://r:s@h2:6222"]
          pool_size: 5, accounts: [A], compression: { mode: s2_auto, rtt_thresholds: ["1ms", "5ms"] }
          ping_interval: "20s", ping_max: 3, connect_backoff: true, write_deadline: "1s", write_timeout: close
        }
    """,
    "gateway": """
        gateway {
          name: g, host: "127.0.0.1", port: 7222, reject_unknown_cluster: true, connect_backoff: true
          gateways [ { name: g }, { name: h, urls: ["nats://h:7222"] }, { name: i, url: "nats://i:7222" } ]
        }
    """,
    "leafnodes": """
        leafnodes {
          port: 7422, no_advertise: true, reconnect: "3s", min_version: "2.9.0", isolate: true, compression: off
          authorization { users [ { user: a, password: b, account: "$G" } ] }
          remotes [
            { url: "nats://h:7422", account: A, deny_imports: [a, "b.>"], hub: true, first_info_timeout: "2s" }
            { urls: ["wss://i:443"], ws_compression: true, proxy { url: "http://p:8080", timeout: "5s" }, tls {} }
            { url: "nats://j", nkey: SEED, disabled: true }
          ]
        }
    """,
    "websocket": """
        websocket {
          listen: "127.0.0.1:8080", no_tls: true, same_origin: true, allowed_origins: ["http://a", "http://b"]
          compression: true, handshake_timeout: "3s", jwt_cookie: j, no_auth_user: a, headers { X-A: b }
          authorization { user: a, password: b, timeout: 3 }
        }
    """,
    "operator_mode": f"""
        resolver: MEMORY
        resolver_pinned_accounts: [ {ACCOUNT} ]
    """,
    "resolver_url": 'resolver: URL("http://localhost:9090/jwt/v1/accounts/")\n',
    "jetstream": 'jetstream { store_dir: "/tmp/js", max_mem: 1GB, max_file: "10G", domain: d, sync: always }\n',
    "jetstream_on": "jetstream: enabled\nstore_dir: '/tmp'\ndefault_js_domain { A: d }\n",
    "mqtt": "mqtt { port: 1883, ack_wait: '1m', max_ack_pending: 100 }\n",
}

BAD = {
    "empty": "",
    "unknown": "prot: 4222\n\n  nonsense { a: 1 }\n",
    "unknown_in_users": "authorization {\n users [ { user: a, passwd: b } ]\n}\n",
    "wrong_type_int": 'max_payload: "1MB"\n',
    "wrong_type_string": "server_name: 5\n",
    "wrong_type_bool": '\ndebug: "true"\n',
    "wrong_type_float": "port: 1.5\n",
    "wrong_type_list": "cluster { routes: 5 }\n",
    "durations": """
        ping_interval: 10
        write_deadline: "1x"
        lame_duck_duration: "10s"
        lame_duck_grace_period: "-1s"
    """,
    "durations_without_units": 'lame_duck_duration: "100"\nlame_duck_grace_period: ""\n',
    "addresses": 'listen: "a"\nhttp: "b:c"\nhttps: true\n',
    "too_big": "max_control_line: 4gb\nmax_payload: 4gb\nmax_sub_tokens: 256\n",
    "too_small": "max_sub_tokens: 0\n",
    "names": 'server_name: "a b"\ncluster { name: "a b" }\ngateway { name: "a b" }\n',
    "write_timeout": "write_timeout: never\ncluster { write_timeout: x }\n",
    "tags": "server_tags: [ a, 5 ]\nserver_metadata: 5\nfeature_flags: [ 1 ]\n",
    "tags_type": "server_tags: 5\nserver_metadata { a: 5 }\nfeature_flags { a: b }\n",
    "system_account": "system_account: 5\n",
    "user_and_token": "authorization { user: a, password: b, token: c }\n",
    "user_and_users": "authorization { user: a, password: b, users: [ { user: c } ] }\n",
    "token_and_users": "authorization { token: a, users: [] }\n",
    "no_users": "authorization { users: 5 }\n",
    "user_entry": "authorization { users: [ a, { password: b } ] }\n",
    "nkey": "authorization { users: [ { nkey: e } ] }\n",
    "duplicate_user": "authorization { users: [ { user: a }, { user: a } ] }\n",
    "connection_types": "authorization { users: [ { user: a, connection_types: [ FOO, standard, BAR ] } ] }\n",
    "auth_timeout": "authorization { timeout: 1m }\n",
    "auth_timeout_text": "authorization { timeout: x }\n",
    "permissions": """
        authorization { users: [
          { user: a, permissions { publish: "a..b" } }
          { user: b, permissions { publish { allow: "a b", deny: ">.a" } } }
          { user: c, permissions { publish { alow: "a" }, subscrib: x } }
          { user: d, permissions { allow_responses { max: 1, expire: 5 } } }
          { user: e, permissions: all }
        ] }
    """,
    "callout": "authorization { auth_callout { issuer: x } }\n",
    "callout_without_users": f"authorization {{ auth_callout {{ issuer: {ACCOUNT} }} }}\n",
    "callout_unknown": f"authorization {{ auth_callout {{ issuer: {ACCOUNT}, auth_users: [a], foo: 1 }} }}\n",
    "tls_no_key": "tls { cert_file: cert.pem }\n",
    "tls_no_cert": "\n tls { key_file: key.pem }\n",
    "tls_no_file": "tls { cert_file: none.pem, key_file: key.pem }\n",
    "tls_no_pem": "tls { cert_file: c.conf, key_file: key.pem }\n",
    "tls_no_pem_key": "tls { cert_file: cert.pem, key_file: c.conf }\n",
    "tls_other_key": "tls { cert_file: cert.pem, key_file: other-key.pem }\n",
    "tls_no_ca": "tls { ca_file: none.pem }\n",
    "tls_bad_ca": "tls { ca_file: c.conf }\n",
    "tls_unknown": "tls {\n  cert_fil: a\n}\n",
    "tls_type": 'tls { verify: "true" }\n',
    "tls_file_type": "tls { cert_file: true }\n",
    "tls_timeout": "tls { timeout: x }\n",
    "tls_cipher": "tls { cipher_suites: [ TLS_NONE ] }\n",
    "tls_no_cipher": "tls { cipher_suites: [] }\n",
    "tls_weak_cipher": "tls { cipher_suites: [ TLS_RSA_WITH_RC4_128_SHA ] }\n",
    "tls_curve": "tls { curve_preferences: [ P256 ] }\n",
    "tls_version": 'tls { min_version: "1.1" }\n',
    "tls_no_version": 'tls { min_version: "2" }\n',
    "tls_version_type": "tls { min_version: 1.2 }\n",
    "tls_pins": "tls { pinned_certs: [ abc ] }\n",
    "tls_pins_type": "tls { pinned_certs: abc }\n",
    "tls_first": "tls { handshake_first: maybe }\n",
    "tls_first_type": "tls { handshake_first: 5 }\n",
    "tls_rate": "tls { connection_rate_limit: x }\n",
    "tls_check_urls": "tls { verify_cert_and_check_known_urls: true }\n",
    "tls_certs_and_file": """
        tls { cert_file: cert.pem, key_file: key.pem, certs: [ { cert_file: cert.pem, key_file: key.pem } ] }
    """,
    "tls_certs_half": "tls { certs: [ { cert_file: cert.pem } ] }\n",
    "tls_store": 'tls { cert_store: "WindowsCurrentUser" }\n',
    "tls_no_store": 'tls { cert_store: "x" }\n',
    "tls_store_type": "tls { cert_store: 5 }\n",
    "tls_match_by": "tls { cert_match_by: x }\n",
    "tls_ocsp": "tls { ocsp_peer: 5 }\n",
    "tls_ocsp_key": "tls { ocsp_peer { foo: 1 } }\n",
    "proxies": "proxies { trusted: [ { key: x }, { kay: y } ], other: 1 }\n",
    "accounts": """
        accounts {
          A { users: 5, foo: 1 }
          B: 5
          "$G" {}
          C { nkey: x, limits { max_con: 1 }, exports: 5, imports: x }
          D { exports [ 5, { stream: 5 }, { service: a, response_type: x }, { stream: b, response: single } ] }
          E { imports [ { stream: 5 }, { service { account: A } }, { stream { account: A, subject: b, foo: 1 } } ] }
          F { mappings { x: [ { dest: y } ], z: 5, "a b": c } }
          G { jetstream: maybe, msg_trace { dest: "a.*" } }
        }
    """,
    "accounts_by_name": 'accounts: [ A, "$G", A ]\n',
    "account_users": """
        accounts { A { users [ { user: a } ] } }
        authorization { users [ { user: b }, { user: b } ] }
    """,
    "account_user_twice": "accounts { A { users [ { user: a }, { user: a } ] } }\n",
    "latency_of_a_stream_of_responses": """
        accounts { A { exports [ { service: q, response_type: stream, latency: l } ] } }
    """,
    "latency_results_in_a_service": """
        accounts {
          A { exports [ { service: "l.*" }, { service: q, latency: l.q }, { service: r, latency: r } ] }
          C { exports [ { service: s, latency: "" }, { service: t, latency: "l.t" }, { service: "l.*" } ] }
          B { exports [ { service: q, latency { sampling: headers, subject: "l.>" } }, { service: r, latency: "a..b" } ] }
        }
    """,
    "shared_nothing": """
        accounts {
          A { exports [ { stream: a, accounts: [X] } ] }
          B { imports [ { stream { account: Y, subject: a } }, { service { account: A, subject: s } } ] }
        }
    """,
    "imports_of_no_subject": r"""
        accounts {
          A { exports [ { service: ">" }, { stream: ">" }, { service: "x..y" }, { stream: "x..y" } ] }
          B { imports [
            { service { account: A, subject: "x..y" } }
            { service { account: A, subject: "a b" } }
            { service { account: A, subject: "a\rb" }, to: c }
            { service { account: A, subject: d }, to: "a\nb" }
            { service { account: A, subject: "d.*" }, to: ".b.*" }
            { service { account: A, subject: e }, to: "a.>.b" }
            { service { account: C, subject: "f." } }
            { stream { account: A, subject: "x..y" } }
            { stream { account: A, subject: "a\tb" }, to: c }
            { stream { account: A, subject: ">.b" }, prefix: "b.*" }
            { stream { account: A, subject: d }, prefix: "a.>.b" }
            { stream { account: A, subject: e }, prefix: ">.a" }
            { stream { account: A, subject: f }, prefix: "*" }
            { stream { account: C, subject: g }, prefix: "*" }
            { stream { account: A, subject: "h.*" }, to: "a..b.*" }
          ] }
          C {}
        }
    """,
    "mappings": """
        mappings {
          a: [ { dest: b, weight: 60 }, { dest: c, weight: 60 } ]
          b: "c..d"
          "c.*": "d.$2"
          d: [ { destination: e, weight: x } ]
          e: [ { destination: e, weight: 101 } ]
          f: { destinatin: e }
        }
    """,
    "cluster": """
        cluster {
          listen: x
          authorization { user: a, password: b, permissions { publish: c } }
          routes: ["nats://a:1", "nats://a:1", "nats://[::1"]
          ping_interval: "1m"
          lisen: 1
        }
    """,
    "cluster_token": "cluster { authorization { token: a } }\n",
    "cluster_users": "cluster { authorization { users: [] } }\n",
    "cluster_responses": "cluster { permissions { allow_responses: true } }\n",
    "cluster_compression": "cluster { compression: 5 }\n",
    "cluster_compression_key": "cluster { compression { mod: s2_fast } }\n",
    "cluster_type": "cluster: 5\n",
    "gateway": """
        gateway { gateways [ 5, { name: a, url: "nats://[::1" }, { nam: b } ], authorization { token: x }, foo: 1 }
    """,
    "gateway_list": "gateway { gateways: 5 }\n",
    "leafnodes": """
        leafnodes {
          authorization { user: a, users [ { user: b } ] }
          remotes [ { url: "nats://a" }, { url: "nats://a" }, { urls: 5 }, 5, { hubb: true } ]
          min_version: "2.7.0"
          compression: 5
        }
    """,
    "leafnodes_user_twice": "leafnodes { authorization { users [ { user: b }, { user: b } ], foo: 1 } }\n",
    "leafnodes_proxy": """
        leafnodes { remotes [
          { url: "ws://a", proxy { url: "ftp://a" } }
          { url: "ws://a", proxy { url: "http://a", username: b } }
          { url: "ws://a", proxy { foo: 1 } }
        ] }
    """,
    "leafnodes_deny": 'leafnodes { remotes [ { url: "nats://a", deny_imports: "a..b" } ] }\n',
    "websocket": """
        websocket { headers { a: 5 }, origins: [ 1 ], handshake_timeout: x, authorization { user: a, foo: 1 }, foo: 1 }
    """,
    "resolver": "resolver: foo\n",
    "resolver_type": "resolver: 5\n",
    "operator": "operator: none.jwt\nresolver_preload { A: b, B: 5 }\ntrusted_keys: [ OABC ]\n",
    "jetstream": "jetstream: maybe\nstore_dir: 5\n",
    "jetstream_key": "jetstream { max_memory: 1 }\n",
    "jetstream_size": 'jetstream { max_mem: "10x" }\n',
    "mqtt": "mqtt { foo: 1, max_ack_pending: 100000, consumer_replicas: 1 }\n",
}

# nats-server gives these the place of whichever key its random order ends with.
ANYWHERE = {
    "nkey_with_password": f"authorization {{ users: [ {{ nkey: {USER}, password: b }} ] }}\n",
    "remote_twice": 'leafnodes { remotes [ { url: "nats://a" }, { url: "nats://a", account: "$G" } ] }\n',
}

FINDS_MORE = {
    "types": 'port: "1"\nauthorization { users: [ { user: 1, password: 2 } ] }\n',
    "tls": "tls { cert_file: 5, key_file: 6, foo: 1 }\n",
    "cluster": "cluster { port: a, name: 5, foo: 1 }\n",
    "user_entries": "authorization { users: [ { password: b }, { nkey: d } ] }\n",
    "accounts": "accounts { A { exports [ { service: a, latency { sampling: 200 } } ] } }\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("cert.pem", "key.pem", "other-key.pem"):
        shutil.copy(VECTORS / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def both(folder: Path, text: str) -> tuple[tuple[int, list[str]], tuple[int, list[str]]]:
    """(exit code, sorted lines without the program's name) of nats-server and of ours."""
    (folder / "c.conf").write_text(text.replace("SEED", _seed()))
    done = subprocess.run(
        [*command(REAL), "-t", "-c", "c.conf"], capture_output=True, text=True, timeout=60, check=False
    )
    ours, code = result_of_test(load(parse_command_line(["-t", "-c", "c.conf"])))
    assert ours.startswith(f"{program_name()}: ")
    return (
        (done.returncode, _lines(done.stderr.removeprefix("nats-server: "))),
        (code, _lines(ours.removeprefix(f"{program_name()}: "))),
    )


def _lines(text: str) -> list[str]:
    return sorted(line for line in text.splitlines() if line)


def _seed() -> str:
    """A user's seed, made on the spot: none is kept in a file."""
    from broker.auth import nkeys

    return nkeys.generate(nkeys.Prefix.USER).encoded_seed()


@pytest.mark.parametrize("name", GOOD)
def test_good(folder: Path, name: str) -> None:
    theirs, ours = both(folder, GOOD[name])
    assert ours == theirs
    assert theirs[0] == 0


@pytest.mark.parametrize("name", BAD)
def test_bad(folder: Path, name: str) -> None:
    theirs, ours = both(folder, BAD[name])
    assert ours == theirs
    assert theirs[0] == 1


@pytest.mark.parametrize("name", FINDS_MORE)
def test_finds_more(folder: Path, name: str) -> None:
    theirs, ours = both(folder, FINDS_MORE[name])
    assert ours[0] == theirs[0] == 1
    assert set(theirs[1]) < set(ours[1])


@pytest.mark.parametrize("name", ANYWHERE)
def test_anywhere(folder: Path, name: str) -> None:
    theirs, ours = both(folder, ANYWHERE[name])
    assert [_reason(line) for line in ours[1]] == [_reason(line) for line in theirs[1]]
    assert ours[0] == theirs[0] == 1


def _reason(line: str) -> str:
    place, _, reason = line.partition(": ")
    assert re.fullmatch(r"c\.conf:\d+:\d+", place)
    return reason
