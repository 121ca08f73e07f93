"""The members of answers of the system account, and their types and order, beside those of the real nats-server.

Operators' tools decode them by name and type. What is wrong with requests is compared in test_system_requests.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.harness import FOUR, REAL, Kind, Raw, Server, start
from tests.server.monitor import MONITOR, Monitor
from tests.server.system import Asker
from tests.server.test_auth import KEY, public_user, signed
from tests.server.test_monitoring_fields import shape

CONFIG: Final = f"""server_name: req-1
server_tags: ["az:1", "Role:DB"]
server_metadata: {{ room: "3" }}
system_account: SYS
{MONITOR}
accounts {{
  SYS {{ users: [ {{ user: sys, password: sys }} ] }}
  APP {{
    users: [ {{ user: app, password: app }}
             {{ nkey: {public_user(KEY)} }}
             {{ user: lim, password: lim, permissions: {{
                 publish: {{ allow: ["a.>", "$SYS.REQ.>"], deny: "d" }}
                 subscribe: ["_INBOX.>", "q"]
                 allow_responses: {{ max: 3, expires: "1m" }} }} }} ]
    exports: [ {{ service: svc.a, latency: {{ sampling: 50%, subject: lat.a }} }}
               {{ service: svc.b, response_type: stream, accounts: [OTH] }}
               {{ service: svc.c, response_threshold: "3s" }}, {{ stream: "st.>" }} ]
    mappings {{ m.a: m.b, w.x: [ {{ destination: w.y, weight: 30% }}, {{ destination: w.z, weight: 60% }} ] }}
    limits {{ max_connections: 50, max_subs: 100 }}
  }}
  OTH {{
    users: [ {{ user: oth, password: oth }} ]
    imports: [ {{ service: {{ account: APP, subject: svc.a }}, to: my.svc, share: true }}
               {{ service: {{ account: APP, subject: svc.c }} }}
               {{ stream: {{ account: APP, subject: "st.>" }}, prefix: p }} ]
  }}
  EMPTY {{ }}
}}
"""
PING: Final = "$SYS.REQ.SERVER.PING"
ACCOUNT: Final = "$SYS.REQ.ACCOUNT"
AS_SYSTEM: Final = (
    (PING, ""),
    (f"{PING}.STATSZ", ""),
    (f"{PING}.IDZ", ""),
    (f"{PING}.VARZ", ""),
    (f"{PING}.SUBSZ", ""),
    (f"{PING}.SUBSZ", '{"subscriptions":true,"account":"APP","test":"foo"}'),
    (f"{PING}.CONNZ", ""),
    (f"{PING}.CONNZ", '{"auth":true,"subscriptions":true,"acc":"APP"}'),
    (f"{PING}.CONNZ", '{"auth":true,"subscriptions_detail":true,"acc":"APP"}'),
    (f"{PING}.CONNZ", '{"auth":true,"state":1,"subscriptions_detail":true}'),
    (f"{PING}.CONNZ", '{"auth":true,"state":2,"user":"app"}'),
    (f"{PING}.CONNZ", '{"cid":9999}'),
    (f"{PING}.CONNZ", '{"mqtt_client":"x"}'),
    (f"{PING}.CONNZ", '{"acc":"NOPE"}'),
    (f"{PING}.CONNZ", '{"acc":"APP","filter_subject":"foo"}'),
    (f"{PING}.ROUTEZ", ""),
    (f"{PING}.ROUTEZ", '{"subscriptions":true,"subscriptions_detail":true}'),
    (f"{PING}.GATEWAYZ", ""),
    (f"{PING}.GATEWAYZ", '{"name":"x","accounts":true,"account_name":"APP","subscriptions":true}'),
    (f"{PING}.LEAFZ", ""),
    (f"{PING}.LEAFZ", '{"subscriptions":true,"account":"APP"}'),
    (f"{PING}.ACCOUNTZ", ""),
    (f"{PING}.ACCOUNTZ", '{"account":"APP"}'),
    (f"{PING}.ACCOUNTZ", '{"account":"OTH"}'),
    (f"{PING}.ACCOUNTZ", '{"account":"SYS"}'),
    (f"{PING}.ACCOUNTZ", '{"account":"NOPE"}'),
    (f"{PING}.JSZ", ""),
    (f"{PING}.JSZ", '{"accounts":true,"streams":true,"consumer":true,"config":true,"raft":true}'),
    (f"{PING}.HEALTHZ", ""),
    (f"{PING}.HEALTHZ", '{"details":true,"js-enabled-only":true}'),
    (f"{PING}.HEALTHZ", '{"account":"APP","stream":"x","details":true}'),
    (f"{PING}.PROFILEZ", ""),
    (f"{PING}.PROFILEZ", '{"name":"zz"}'),
    (f"{PING}.EXPVARZ", ""),
    (f"{PING}.IPQUEUESZ", ""),
    (f"{PING}.IPQUEUESZ", '{"all":true}'),
    (f"{PING}.RAFTZ", ""),
    *((f"{ACCOUNT}.APP.{name}", "") for name in "SUBSZ CONNZ LEAFZ JSZ INFO STATZ CONNS".split()),
    (f"{ACCOUNT}.APP.CONNZ", '{"auth":true,"subscriptions_detail":true,"state":2}'),
    *((f"{ACCOUNT}.NOPE.{name}", "") for name in "SUBSZ CONNZ LEAFZ JSZ INFO".split()),
    (f"{ACCOUNT}.NOPE.STATZ", '{"include_unused":true}'),
    (f"{ACCOUNT}.SYS.INFO", ""),
    (f"{ACCOUNT}.OTH.INFO", ""),
    (f"{ACCOUNT}.PING.STATZ", ""),
    (f"{ACCOUNT}.PING.STATZ", '{"include_unused":true}'),
    ("$SYS.REQ.SERVER.<id>.RELOAD", ""),
    ("$SYS.REQ.SERVER.<id>.KICK", '{"cid":9999}'),
    ("$SYS.REQ.SERVER.<id>.LDM", '{"cid":9999}'),
    ("$SYS.REQ.USER.INFO", ""),
)
AS_OTHERS: Final = tuple(
    (user, subject)
    for user in ("app", "lim", "oth")
    for subject in ("$SYS.REQ.USER.INFO", f"{PING}.CONNZ", f"{ACCOUNT}.PING.CONNZ", f"{ACCOUNT}.PING.STATZ")
)
# What we have not: which commit it was built of, what a Go program's memory and queues are like. And of the last of a list in no
# order.
WITHOUT: Final = {
    f"{PING}.VARZ": ("data.git_commit",),
    f"{PING}.EXPVARZ": ("data.memstats",),
    f"{PING}.IPQUEUESZ": ("data",),
    **dict.fromkeys((f"{ACCOUNT}.{name}.INFO" for name in ("APP", "OTH", "SYS")), ("data.imports[].share",)),
    f"{PING}.ACCOUNTZ": ("data.account_detail.imports[].share",),
}


@dataclass(slots=True)
class Scene:
    """A server with open connections and a closed one, and somebody who asks, for each user."""

    server: Server
    askers: dict[str, Asker]


def scene(kind: Kind) -> Iterator[Scene]:
    server = start(kind, CONFIG)
    try:
        about = {"headers": True, "no_responders": True, "name": "n", "lang": "l", "version": "v"}
        users = ("sys", "app", "lim", "oth")
        askers = {user: Asker(Raw(server.port).hello(user=user, **{"pass": user}, **about)) for user in users}
        keeper = Raw(server.port)
        keeper.hello(**signed(keeper, KEY))
        askers["app"].raw.send(
            b"SUB foo 3\r\nSUB foo q 4\r\nUNSUB 4 50\r\nPUB foo 3\r\nabc\r\n"
        ).read_messages(2)
        gone = Raw(server.port).hello(user="app", **{"pass": "app"}, name="gone")
        gone.send(b"SUB x 1\r\n").expect_pong().leave()
        Monitor(server).closed("gone")
        yield Scene(server, askers)
        keeper.leave()
        for asker in askers.values():
            asker.raw.leave()
        server.stop()
    finally:
        server.destroy()


@pytest.fixture(scope="module")
def ours() -> Iterator[Scene]:
    """Our server."""
    yield from scene(FOUR)


@pytest.fixture(scope="module")
def theirs() -> Iterator[Scene]:
    """The real one."""
    yield from scene(REAL)


def members(answer: Any, subject: str) -> list[tuple[str, str]]:
    """Names and types, in their order."""
    left_out = WITHOUT.get(subject, ())
    return [
        (path, kind)
        for path, kind in shape(answer).items()
        if not any(path == each or path.startswith((each + ".", each + "[")) for each in left_out)
    ]


def compare(ours: Scene, theirs: Scene, user: str, subject: str, body: str = "") -> None:
    mine, real = (members(one.askers[user].ask(subject, body).json, subject) for one in (ours, theirs))
    assert sorted(mine) == sorted(real)
    # A list without some member in its first entry has it later: then the order is chance.
    assert [one for one in mine if "[]" not in one[0]] == [one for one in real if "[]" not in one[0]]


@pytest.mark.parametrize(("subject", "body"), AS_SYSTEM)
def test_as_system(ours: Scene, theirs: Scene, subject: str, body: str) -> None:
    compare(ours, theirs, "sys", subject, body)


@pytest.mark.parametrize(("user", "subject"), AS_OTHERS)
def test_as_others(ours: Scene, theirs: Scene, user: str, subject: str) -> None:
    compare(ours, theirs, user, subject)
