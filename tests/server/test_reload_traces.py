"""Reload and message traces: where an account's messages are traced to, and over which borders, changes with it."""

from __future__ import annotations

import json

from tests.harness import Kind, Raw
from tests.server.test_msg_trace import PARENT, message, publish
from tests.server.test_reload import Operator
from tests.server.test_reload_accounts import applied


def config(trace: str, service: str = "", stream: str = "") -> str:
    """A's messages are traced as ``trace`` says; ``service`` and ``stream`` are said of its import and of B's."""
    return f"""server_name: here
    accounts {{
      A {{ users: [{{user: a}}], {trace}
           exports: [{{stream: "st"}}], imports: [{{service: {{account: B, subject: svc}}}}] }}
      B {{ users: [{{user: b}}], exports: [{{service: svc {service}}}]
           imports: [{{stream: {{account: A, subject: st}} {stream}}}] }}
    }}"""


def test_traces_of_accounts_that_change(kind: Kind) -> None:
    operator = Operator(kind, config("msg_trace: one"))
    try:
        traces, publisher = (operator.connect(user="a", headers=True, name=name) for name in ("t", "p"))
        other = operator.connect(user="b", headers=True, name="o")
        traces.send(b"SUB one 1\r\nSUB two 2\r\n").expect_pong()
        other.send(b"SUB st 1\r\nSUB svc 2\r\n").expect_pong()
        steps(publisher, traces, other, b"one", {"in", "se"}, {"in", "si"})
        applied(operator, config("msg_trace: two", ", allow_trace: true", ", allow_trace: true"))
        steps(publisher, traces, other, b"two", {"in", "se", "eg"}, {"in", "si", "eg"})
        applied(operator, config("", ", allow_trace: true"))
        for subject in (b"st", b"svc"):
            publish(publisher, subject, PARENT)
            message(other)
        applied(operator, config("msg_trace: one", ", allow_trace: true"))
        steps(publisher, traces, other, b"one", {"in", "se"}, {"in", "si", "eg"})
        for client in operator.clients:
            client.close()
        operator.server.stop()
    finally:
        operator.server.destroy()


def steps(publisher: Raw, traces: Raw, other: Raw, where: bytes, stream: set[str], service: set[str]) -> None:
    """The kinds of steps of a message for the stream and of one for the service are these, and told there alone."""
    for subject, kinds in ((b"st", stream), (b"svc", service)):
        publish(publisher, subject, PARENT)
        message(other)
        (heard, _), _, payload = message(traces)
        assert heard == where
        assert {step["type"] for step in json.loads(payload)["events"]} == kinds, subject


def test_who_tells_of_a_trace(kind: Kind) -> None:
    """The server's block is that of the configuration in force."""
    operator = Operator(kind, "server_name: here\nserver_tags: [old]")
    try:
        client = operator.connect(headers=True).send(b"SUB trace 1\r\n").expect_pong()
        for tags in (["old"], ["new", "more"]):
            if tags != ["old"]:
                applied(operator, f"server_name: here\nserver_tags: [{', '.join(tags)}]")
            publish(client, b"x", b"Nats-Trace-Dest: trace\r\n")
            _, _, payload = message(client)
            assert json.loads(payload)["server"]["tags"] == tags
        for one in operator.clients:
            one.close()
        operator.server.stop()
    finally:
        operator.server.destroy()
