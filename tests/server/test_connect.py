"""INFO, CONNECT and the first PING: sections 2, 3 and 5.1 of the client protocol."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.server.shared import Dial

CLOSED_SILENTLY = b""


def test_info_is_the_first_line(dial: Dial) -> None:
    client = dial()  # asserts the exact frame of the line
    info = client.info
    assert info["server_id"].startswith("N") and len(info["server_id"]) == 56
    assert info["server_name"] == info["server_id"]
    assert info["version"].count(".") == 2 and isinstance(info["go"], str)
    assert info["proto"] == 1
    assert info["headers"] is True
    assert info["max_payload"] == 1048576
    assert info["client_id"] > 0 and info["client_ip"] == "127.0.0.1"
    assert info["host"] == "127.0.0.1" and info["port"] == dial.server().port
    absent = {
        "auth_required",
        "tls_required",
        "tls_available",
        "nonce",
        "connect_urls",
        "ldm",
        "connect_info",
        "jetstream",
    }
    assert not absent & info.keys()


def test_info_is_the_same_for_everybody_but_for_the_client_id(dial: Dial) -> None:
    infos = [dial().info for _ in range(8)]
    ids = [info.pop("client_id") for info in infos]
    assert len(set(ids)) == 8 and ids == sorted(ids)
    assert all(info == infos[0] for info in infos)


def test_info_has_no_blanks_inside(dial: Dial) -> None:
    client = dial(info=False)
    line = client.read_until(b"\r\n")
    assert line == b"INFO " + json.dumps(json.loads(line[5:]), separators=(",", ":")).encode() + b" \r\n"
    fields = list(json.loads(line[5:]))
    order = [
        "server_id",
        "server_name",
        "version",
        "proto",
        "git_commit",
        "go",
        "host",
        "port",
        "headers",
        "max_payload",
    ]
    order += ["client_id", "client_ip"]
    assert [field for field in fields if field in order] == [field for field in order if field in fields]


def test_info_of_a_named_and_advertised_server(dial: Dial) -> None:
    info = dial('server_name: "paul"\nclient_advertise: "example.org:1234"\nmax_payload: 1kb').info
    assert (info["server_name"], info["host"], info["port"], info["max_payload"]) == (
        "paul",
        "example.org",
        1234,
        1024,
    )


def test_quiet_connect_is_answered_by_nothing(dial: Dial) -> None:
    dial().send(b'CONNECT {"verbose":false}\r\nPING\r\n').expect(b"PONG\r\n").expect_pong()


def test_empty_connect_is_verbose(dial: Dial) -> None:
    dial().send(b"CONNECT {}\r\n").expect(b"+OK\r\n").expect_pong()


def test_first_ping_of_protocol_1_is_followed_by_one_info(dial: Dial) -> None:
    client = dial()
    client.send(b'CONNECT {"verbose":false,"protocol":1}\r\nPING\r\n').expect(b"PONG\r\n")
    second = client.expect_info()
    assert second["connect_info"] is True and second["remote_account"] == "$G"
    assert second["client_id"] == client.info["client_id"] and second["server_id"] == client.info["server_id"]
    assert "acc_is_sys" not in second
    client.expect_pong().expect_pong()


def test_no_second_info_for_protocol_0(dial: Dial) -> None:
    dial().send(b'CONNECT {"verbose":false,"protocol":0}\r\nPING\r\nPING\r\n').expect(
        b"PONG\r\nPONG\r\n"
    ).expect_pong()


def test_ping_without_connect(dial: Dial) -> None:
    dial().send(b"PING\r\n").expect(b"PONG\r\n").expect_pong()


def test_publish_without_connect_is_verbose(dial: Dial) -> None:
    client = dial().send(b"SUB open 1\r\n").expect(b"+OK\r\n")
    client.send(b"PUB open 2\r\nhi\r\n").expect(b"+OK\r\nMSG open 1 2\r\nhi\r\n").expect_pong()


def test_pedantic_without_connect(dial: Dial) -> None:
    dial().send(b"PUB a.* 0\r\n\r\n").expect(b"-ERR 'Invalid Publish Subject'\r\n+OK\r\n").expect_pong()


@pytest.mark.parametrize(
    "line",
    [
        b"CONNECT {}",
        b"connect {}",
        b"CoNnEcT {}",
        b"CONNECT   \t {}",
        b"CONNECT{}",
        b"CONNECT {}  \t",
        b'CONNECT {"unknown":{"deep":[1,2,{"x":null}]},"verbose":true}',
        b'CONNECT {"Verbose":true}',
        b'CONNECT {"verbose":null}',
        b'CONNECT { "name" : "caf\xc3\xa9 \\u00e9", "lang":"x" ,"version":"1" }',
        b'CONNECT {"tls_required":true}',
        b'CONNECT {"user":"nobody","pass":"asked"}',
        b'CONNECT {"auth_token":"nobody asked"}',
        b'CONNECT {"account":"","new_account":false}',
    ],
)
def test_connect_is_accepted(dial: Dial, line: bytes) -> None:
    dial().send(line + b"\r\n").expect(b"+OK\r\n").expect_pong()


def test_keys_match_in_any_case(dial: Dial) -> None:
    dial().send(b'CONNECT {"VERBOSE":false,"Pedantic":false}\r\nPING\r\n').expect(b"PONG\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"CONNECT",
        b"CONNECT ",
        b"CONNECT {",
        b"CONNECT {]",
        b"CONNECT nonsense",
        b"CONNECT []",
        b'CONNECT {"name":5}',
        b'CONNECT {"verbose":"true"}',
        b'CONNECT {"verbose":1}',
        b'CONNECT {"protocol":"1"}',
        b'CONNECT {"protocol":1.5}',
        b'CONNECT {"name":["a"]}',
        b'CONNECT {"verbose":false} x',
        b"CONNECT {'verbose':false}",
    ],
)
def test_bad_json_closes_silently(dial: Dial, line: bytes) -> None:
    dial().send(line + b"\r\n").expect_eof(CLOSED_SILENTLY)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"protocol": 2}, b"invalid client protocol"),
        ({"protocol": -1}, b"invalid client protocol"),
        ({"no_responders": True}, b"no responders requires headers support"),
        ({"no_responders": True, "headers": False}, b"no responders requires headers support"),
        ({"account": "A"}, b"Authorization Violation"),
        ({"new_account": True}, b"Authorization Violation"),
        ({"account": "A", "new_account": True, "protocol": 7}, b"Authorization Violation"),
    ],
)
def test_refused_connect(dial: Dial, options: dict[str, Any], error: bytes) -> None:
    dial().send(b"CONNECT " + json.dumps(options).encode() + b"\r\n").expect_eof(b"-ERR '" + error + b"'\r\n")


def test_no_responders_with_headers_is_fine(dial: Dial) -> None:
    dial().send(b'CONNECT {"no_responders":true,"headers":true}\r\n').expect(b"+OK\r\n").expect_pong()


def test_second_connect_merges_over_the_first(dial: Dial) -> None:
    client = (
        dial()
        .send(b'CONNECT {"verbose":false,"echo":false}\r\nCONNECT {"pedantic":false}\r\nPING\r\n')
        .expect(b"PONG\r\n")
    )
    client.send(
        b"SUB merged 1\r\nPUB merged 0\r\n\r\nPUB merged.* 0\r\n\r\n"
    ).expect_pong()  # still quiet, still no echo
    client.send(b'CONNECT {"verbose":true,"echo":true}\r\n').expect(b"+OK\r\n")
    client.send(b"SUB merged 1\r\nPUB merged 0\r\n\r\n").expect(
        b"+OK\r\n+OK\r\nMSG merged 1 0\r\n\r\n"
    ).expect_pong()


def test_second_connect_drops_subscriptions(dial: Dial) -> None:
    client = dial().hello()
    client.send(b"SUB again 1\r\nPUB again 1\r\na\r\n").expect(b"MSG again 1 1\r\na\r\n")
    client.send(b"CONNECT {}\r\nPUB again 1\r\nb\r\n").expect_pong()
    client.send(b"SUB again 1\r\nPUB again 1\r\nc\r\n").expect(b"MSG again 1 1\r\nc\r\n").expect_pong()


def test_commands_in_the_segment_of_connect_use_its_options(dial: Dial) -> None:
    client = dial().send(b'CONNECT {"verbose":false}\r\nSUB same 1\r\nPUB same 2\r\nok\r\nPING\r\n')
    client.expect(b"MSG same 1 2\r\nok\r\nPONG\r\n")
    client = dial().send(b'SUB same 1\r\nCONNECT {"verbose":false}\r\nPING\r\n')
    client.expect(b"+OK\r\nPONG\r\n")
