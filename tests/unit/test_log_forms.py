"""The forms of log lines, packets of them, and a writer that is stuck."""

from __future__ import annotations

import json
import re
import socket

import pytest

from broker.log import LINE_BYTES, About, Log, ToWriter
from broker.options import Options

ANN = About(7, "1.2.3.4:5", "v1:go:x", "$G/user:ann")


class Taken:
    """What was sent, as far as it was taken."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.deaf = False

    def __call__(self, lines: bytes) -> bool:
        if not self.deaf:
            self.packets.append(lines)
        return not self.deaf

    @property
    def text(self) -> str:
        return b"".join(self.packets).decode()


@pytest.fixture
def taken() -> Taken:
    return Taken()


def log_of(taken: Taken, **options: object) -> Log:
    return Log.of(Options(logtime=False, **options), 1, taken)  # type: ignore[arg-type]


def test_lines_about_a_client(taken: Taken) -> None:
    log = log_of(taken)
    log.info("x", ANN)
    log.info("x", About(7))
    log.info("x", About(7, "1.2.3.4:5"))
    assert taken.text == (
        '[1] [INF] 1.2.3.4:5 - cid:7 - "v1:go:x" - "$G/user:ann" - x\n'
        "[1] [INF] cid:7 - x\n"
        "[1] [INF] 1.2.3.4:5 - cid:7 - x\n"
    )


def test_json(taken: Taken) -> None:
    log = log_of(taken, log_format="json")
    log.error('a "quoted"\n\x1b line é', ANN)
    assert json.loads(taken.text) == {
        "level": "error",
        "pid": 1,
        "msg": 'a "quoted"\\n\\x1b line é',
        "cid": 7,
        "client": "1.2.3.4:5",
        "name": "v1:go:x",
        "user": "$G/user:ann",
    }
    assert taken.text.count("\n") == 1
    log.configure(Options(log_format="json"))
    log.info("x")
    stamp = json.loads(taken.packets[-1])["time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d\d:\d\d", stamp)


def test_syslog_lines_begin_with_their_severity(taken: Taken) -> None:
    log = log_of(taken, syslog=True, debug=True, trace=True)
    for write in (log.info, log.debug, log.warn, log.error, log.trace):
        write("x")
    log.fatal("x")
    assert taken.text == "<5>x\n<7>x\n<4>x\n<3>x\n<5>x\n<2>x\n"


def test_a_name_cannot_forge_a_line(taken: Taken) -> None:
    log_of(taken).info("x", About(1, "a", "v1:go:\n[1] [INF] y\x1b"))
    assert taken.text == '[1] [INF] a - cid:1 - "v1:go:\\n[1] [INF] y\\x1b" - x\n'


def test_a_long_line_is_cut(taken: Taken) -> None:
    log_of(taken).info("x" * 1_000_000)
    assert len(taken.text) <= LINE_BYTES and taken.text.endswith("x...\n")


def test_held_lines_are_one_packet(taken: Taken) -> None:
    log = log_of(taken)
    log.hold()
    for _ in range(5):
        log.info("x")
    assert not taken.packets
    log.flush()
    assert [packet.count(b"\n") for packet in taken.packets] == [5]
    log.info("y")
    assert len(taken.packets) == 2
    log.hold()
    for _ in range(5000):
        log.info("y" * 100)
    log.flush()
    assert taken.text.count("y" * 100) == 5000 and max(map(len, taken.packets)) < 100_000


def test_lines_that_nobody_took_are_counted(taken: Taken) -> None:
    log = log_of(taken)
    log.info("a")
    taken.deaf = True
    for _ in range(3):
        log.info("lost")
    log.hold()
    log.info("lost")
    log.info("lost")
    log.flush()
    assert log.lost == 5
    taken.deaf = False
    log.info("b")
    log.info("c")
    assert (
        taken.text
        == "[1] [INF] a\n[1] [ERR] 5 log lines were lost: nobody took them\n[1] [INF] b\n[1] [INF] c\n"
    )


def test_a_stuck_writer_holds_its_senders_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.log.PATIENCE", 0.05)
    receive, send = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with receive, send:
        to_writer = ToWriter(send)
        sent = 0
        while to_writer(b"x" * 1000):
            sent += 1
        assert sent > 10
        for _ in range(10_000):
            assert not to_writer(b"y")  # or this test would take minutes
        for _ in range(sent):
            assert receive.recv(2000) == b"x" * 1000
        assert to_writer(b"z")
        assert receive.recv(2000) == b"z"


def test_a_writer_that_is_gone() -> None:
    receive, send = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    receive.close()
    with send:
        assert not ToWriter(send)(b"x")
