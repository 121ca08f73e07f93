"""The JSON of events that come by the thousand: what many of them have in common is encoded once."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from broker.monitor.accounts import account_stat
from broker.monitor.encode import compact_exact, time_text
from broker.protocol.errors import reason_text
from broker.records import ConnRecord

_KEPT: Final = 1024
_PLACE: Final = re.compile(r'"(%\(\w+\)d)"')


def account_text(name: str, sums: Mapping[str, int]) -> str:
    """The numbers of one account."""
    return _account_form(name) % sums


def client_text(client: ConnRecord, account: str, ended: bool) -> str:
    """A client, as events know it."""
    first, last = _said(account, client.user, client.about)
    host = f'"host":"{client.ip}",' if client.ip else ""
    end = ""
    if ended:
        rtt = f'"rtt":{client.rtt_ns},' if client.rtt_ns else ""
        end = f'{rtt}"stop":"{time_text(client.stop_ns)}",'
    return f'{{"start":"{time_text(client.start_ns)}",{host}"id":{client.cid},{first},{end}{last}}}'


def end_text(client: ConnRecord, account: str) -> str:
    """The rest of the event about a client's end."""
    sent = f'{{"msgs":{client.in_msgs},"bytes":{client.in_bytes}}}'  # by the client
    received = f'{{"msgs":{client.out_msgs},"bytes":{client.out_bytes}}}'
    about, reason = client_text(client, account, ended=True), reason_text(client.reason)
    return f',"client":{about},"sent":{sent},"received":{received},"reason":"{reason}"}}'


class _Places(dict[str, Any]):
    """For each number of an account, where it is to be."""

    __slots__ = ()

    def __missing__(self, name: str) -> str:
        return f"%({name})d"


@lru_cache(_KEPT)
def _account_form(name: str) -> str:
    """All but the numbers, for the operator %."""
    return _PLACE.sub(r"\1", compact_exact(account_stat(name.replace("%", "%%"), _Places())))


@lru_cache(_KEPT)
def _said(account: str, user: str, about: bytes) -> tuple[str, str]:
    """What does not change while a client is connected: the members before those about its end, and the ones behind."""
    said: dict[str, Any] = json.loads(about) if about else {}
    before = {
        "acc": account,
        "user": user,
        "name": said.get("name"),
        "lang": said.get("lang"),
        "ver": said.get("version"),
    }
    behind = {
        "issuer_key": said.get("issuer_key"),
        "name_tag": account,
        "kind": "Client",
        "client_type": "nats",
    }
    return _members(before), _members(behind)


def _members(fields: Mapping[str, Any]) -> str:
    return compact_exact({name: value for name, value in fields.items() if value})[1:-1]
