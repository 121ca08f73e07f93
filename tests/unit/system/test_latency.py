"""The message that tells of a measured request, from the bytes of the data plane."""

from __future__ import annotations

import json
import struct

from broker.system.latency import message


def measured(status: int, *texts: bytes, times: tuple[int, int, int] = (0, 0, 0)) -> bytes:
    """A struct spl_latency with its texts."""
    sizes = [len(text) for text in texts]
    return struct.pack("=q3Q6I", 1_700_000_000_000_000_001, *times, status, *sizes, 0) + b"".join(texts)


def test_an_answered_request() -> None:
    data = measured(200, b"lat.q", b'{"acc":"A"}', b'{"id":7}', b"", times=(1, 2, 3))
    subject, payload = message(data, "ID", 1_700_000_000_500_000_000)
    assert subject == b"lat.q"
    assert payload == (
        b'{"type":"io.nats.server.metric.v1.service_latency","id":"ID","timestamp":"2023-11-14T22:13:20.5Z",'
        b'"status":200,"requestor":{"acc":"A"},"responder":{"id":7},"start":"2023-11-14T22:13:20.000000001Z",'
        b'"service":1,"system":2,"total":3}'
    )


def test_what_the_statuses_are_called() -> None:
    for status, description in (
        (400, "Bad Request"),
        (408, "Request Timeout"),
        (503, "Service Unavailable"),
        (504, "Service Timeout"),
    ):
        fields = json.loads(message(measured(status, b"l", b'{"acc":"A"}', b"", b""), "ID", 0)[1])
        assert (fields["status"], fields["description"]) == (status, description)
        assert "responder" not in fields and "header" not in fields


def test_headers() -> None:
    lines = (
        b"uberctx-b: 2\r\nUBER-trace-id:1:2\r\n  3 \r\nUberctx-a b: 4\r\nuberctx-c d: 5\r\n"
        b"Uberctx-B:\t6\nuberctx-x--y: \xff<\r\n"
    )
    fields = json.loads(message(measured(200, b"l", b"{}", b"{}", lines), "ID", 0)[1])
    assert list(fields["header"].items()) == [
        ("Uber-Trace-Id", ["1:2 3"]),
        ("Uberctx-B", ["2", "6"]),
        ("Uberctx-X--Y", ["\ufffd<"]),
        ("Uberctx-a b", ["4"]),  # with a blank in it, a name stays as it is, and so must begin as it should
    ]


def test_names_that_are_not_unicode_do_not_lose_the_message() -> None:
    fields = json.loads(message(measured(400, b"l", b'{"acc":"\xff"}', b"", b""), "ID", 0)[1])
    assert fields["requestor"] == {"acc": "\ufffd"}
