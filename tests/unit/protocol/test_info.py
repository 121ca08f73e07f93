"""INFO lines."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.options import NkeyUser, Options, Secret, User
from broker.protocol import version
from broker.protocol.info import InfoTemplate, auth_required

ID = "N" * 56


def parse(line: bytes) -> dict[str, Any]:
    assert line.startswith(b"INFO {")
    assert line.endswith(b"} \r\n")
    assert line.count(b"\n") == 1
    fields: dict[str, Any] = json.loads(line[5:])
    return fields


def test_exact_bytes() -> None:
    info = InfoTemplate(Options(host="127.0.0.1", port=4223, server_name="n1"), ID)
    start = (
        f'INFO {{"server_id":"{ID}","server_name":"n1","version":"2.14.0","proto":1,"go":"{version.RUNTIME}",'
        '"host":"127.0.0.1","port":4223,"headers":true,'
    )
    assert info.first(5, "10.0.0.1", None).decode() == (
        start + '"max_payload":1048576,"client_id":5,"client_ip":"10.0.0.1","api_lvl":4} \r\n'
    )
    assert info.first(6, "::1", "PGB-fcSEeQmUmXA").decode() == (
        start
        + '"max_payload":1048576,"client_id":6,"client_ip":"::1","nonce":"PGB-fcSEeQmUmXA","api_lvl":4} \r\n'
    )
    assert info.connect_info(5, "10.0.0.1", "$G").decode() == (
        start + '"max_payload":1048576,"client_id":5,"client_ip":"10.0.0.1",'
        '"connect_info":true,"remote_account":"$G","api_lvl":4} \r\n'
    )
    assert b'"remote_account":"$SYS","acc_is_sys":true,"api_lvl"' in info.connect_info(5, "::1", "$SYS", True)


def test_without_an_address() -> None:
    """A proxy will tell it."""
    assert "client_ip" not in parse(InfoTemplate(Options(), ID).first(5, "", None))


def test_the_id_is_the_default_name() -> None:
    fields = parse(InfoTemplate(Options(), ID).first(5, "::1", None))
    assert fields["server_name"] == fields["server_id"] == ID


def test_options_are_told() -> None:
    fields = parse(InfoTemplate(Options(no_header_support=True, max_payload=-1), ID).first(5, "::1", None))
    assert fields["headers"] is False
    assert fields["max_payload"] == -1


@pytest.mark.parametrize(
    "options",
    [
        Options(users=[User("a")]),
        Options(nkeys=[NkeyUser("U")]),
        Options(username="u"),
        Options(token=Secret("t")),
    ],
)
def test_auth_required(options: Options) -> None:
    assert auth_required(options)
    info = InfoTemplate(options, ID)
    assert b'"headers":true,"auth_required":true,"max_payload"' in info.first(5, "::1", None)
    assert parse(info.connect_info(5, "::1", "$G"))["auth_required"] is True


def test_no_auth_user_hides_it_at_first() -> None:
    info = InfoTemplate(Options(users=[User("a")], no_auth_user="a"), ID)
    assert "auth_required" not in parse(info.first(5, "::1", None))
    assert parse(info.connect_info(5, "::1", "$G"))["auth_required"] is True


def test_auth_not_required() -> None:
    assert not auth_required(Options(token=Secret("")))
    assert "auth_required" not in parse(InfoTemplate(Options(), ID).connect_info(5, "::1", "$G"))


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("foo.example", "foo.example", 4222),
        ("foo.example:99", "foo.example", 99),
        ("foo.example:0", "foo.example", 4222),
        ("foo.example:-1", "foo.example", 4222),
        (" foo : 99 ", "foo", 99),
        ("[::1]:99", "::1", 99),
        ("[::1]", "::1", 4222),
    ],
)
def test_client_advertise(text: str, host: str, port: int) -> None:
    fields = parse(InfoTemplate(Options(client_advertise=text), ID).first(5, "::1", None))
    assert (fields["host"], fields["port"]) == (host, port)


@pytest.mark.parametrize("text", ["::1", "a:b", "a:1:2", "[::1", "a:"])
def test_malformed_client_advertise(text: str) -> None:
    with pytest.raises(ValueError):
        InfoTemplate(Options(client_advertise=text), ID)


@given(st.text(), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_name_is_one_line_of_json(name: str, account: str) -> None:
    name = re.sub("[\ud800-\udfff]", "\udcff", name)  # the form that bytes of a file take which are not UTF-8
    info = InfoTemplate(Options(server_name=name), ID)
    assert parse(info.first(5, "::1", None))["server_name"] == (name or ID).replace("\udcff", "\ufffd")
    assert parse(info.connect_info(5, "::1", account))["remote_account"] == account


def test_versions() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", version.VERSION)
    assert re.fullmatch(r"python\d+\.\d+\.\d+", version.RUNTIME)
