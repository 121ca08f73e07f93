"""The log's lines."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import pytest

from broker.log import Log

Read = Callable[[], str]


@pytest.fixture
def stderr(capfd: pytest.CaptureFixture[str]) -> Read:
    """Reads what has been written to descriptor 2 since the last call."""
    return lambda: capfd.readouterr().err


def test_format(stderr: Read) -> None:
    Log(42).info("Server is ready")
    line = stderr()
    assert re.fullmatch(r"\[42\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} \[INF\] Server is ready\n", line), line


def test_levels(stderr: Read) -> None:
    log = Log(1, logtime=False)
    for write in (log.info, log.debug, log.warn, log.error, log.fatal, log.trace):
        write("x")
    assert stderr() == "[1] [INF] x\n[1] [WRN] x\n[1] [ERR] x\n[1] [FTL] x\n"
    log.debug_on = log.trace_on = True
    log.debug("d")
    log.trace("t")
    assert stderr() == "[1] [DBG] d\n[1] [TRC] t\n"


def test_text_of_clients_cannot_forge_lines_or_speak_to_the_terminal(stderr: Read) -> None:
    Log(1, logtime=False).error("a\r\n[1] [INF] b\x1b[31m\x00\x9b\ttab é 中 \udcff")
    assert stderr() == "[1] [ERR] a\\r\\n[1] [INF] b\\x1b[31m\\x00\\x9b\ttab é 中 \\udcff\n"


def test_a_log_that_cannot_be_written_is_no_reason_to_die() -> None:
    log = Log(1)
    saved = os.dup(2)
    os.close(2)
    try:
        log.error("x")
    finally:
        os.dup2(saved, 2)
        os.close(saved)
    assert log.lost == 1


def test_colours_on_a_terminal() -> None:
    saved = os.dup(2)
    leader, terminal = os.openpty()
    os.dup2(terminal, 2)
    try:
        Log(1, logtime=False).warn("x")
    finally:
        os.dup2(saved, 2)
        for descriptor in (saved, terminal):
            os.close(descriptor)
    assert os.read(leader, 100) == b"[1] [\x1b[0;93mWRN\x1b[0m] x\r\n"
    os.close(leader)
