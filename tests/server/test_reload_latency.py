"""Reload and service latency: a request is measured, and told of, by the rules that were in force when it was made."""

from __future__ import annotations

from typing import Final

import pytest

from tests.harness import Kind
from tests.server.test_latency import metric
from tests.server.test_reload import Operator
from tests.server.test_reload_accounts import applied
from tests.server.test_service_imports import HEADERS, ask, next_message

IMPORT: Final = "{service: {account: EXP, subject: svc}}"


def config(latency: str, imports: str = IMPORT, more: str = "") -> str:
    """EXP offers a service, whose latency is told in this subject, if any; IMP uses it."""
    export = "service: svc" + (f', latency: "{latency}"' if latency else "")
    return f"""accounts {{
      EXP {{ users: [{{user: exp}}], exports: [{{{export}}}], {more} }}
      IMP {{ users: [{{user: imp}}], imports: [{imports}] }}
    }}"""


@pytest.mark.parametrize(
    ("before", "after", "first", "second"),
    [
        (config("lat.a"), config("lat.a", more="mappings: {x: y}"), b"lat.a", b"lat.a"),
        (config("lat.a"), config("lat.b"), b"lat.a", b"lat.b"),
        (config("lat.a"), config(""), b"lat.a", b""),
        (config(""), config("lat.b"), b"", b"lat.b"),
        (config("lat.a"), config("lat.a", ""), b"lat.a", None),
    ],
    ids=["same", "other", "gone", "new", "import gone"],
)
def test_measured_by_the_rules_of_its_time(
    kind: Kind, before: str, after: str, first: bytes, second: bytes | None
) -> None:
    """``first``, ``second``: where a request from before the reload is told of, and one from after it; none: nowhere."""
    operator = Operator(kind, before)
    try:
        monitor, responder = operator.connect(user="exp"), operator.connect(user="exp", **HEADERS)
        monitor.send(b"SUB lat.* 1\r\n").expect_pong()
        responder.send(b"SUB svc 1\r\n").expect_pong()
        requester = operator.connect(user="imp", **HEADERS)
        requester.send(b"SUB in.> 1\r\n").expect_pong()
        ask(requester, b"svc")
        pending = next_message(responder)[0][2]
        applied(operator, after)
        asked = [(pending, first)]
        if second is not None:
            ask(requester, b"svc")
            asked.append((next_message(responder)[0][2], second))
        for reply, subject in asked:
            responder.send(b"PUB %s 2\r\nok\r\n" % reply)
            requester.expect(b"MSG in.box 1 2\r\nok\r\n")
            if subject:
                assert metric(monitor, subject)["status"] == 200
        monitor.send(b"PUB lat.end 0\r\n\r\n").expect(b"MSG lat.end 1 0\r\n\r\n")
        for client in operator.clients:
            client.close()
        operator.server.stop()
    finally:
        operator.server.destroy()
