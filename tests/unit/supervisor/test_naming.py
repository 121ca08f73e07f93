"""What others see of a server's process: its name, and arguments without secrets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.naming import mask_arguments
from tests.harness import ONE, ROOT, launch

SHOW = """
import sys
from supervisor.naming import hide_secret_arguments, set_process_name
set_process_name("a-very-long-program-name")
hide_secret_arguments()
print(open("/proc/self/comm").read().strip())
print(open("/proc/self/cmdline", "rb").read().split(b"\\0")[3:-1])
print(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("arguments", "masked"),
    [
        ("a --user u --pass secret -p 1", "a --user u --pass xxxxxx -p 1"),
        ("a -pass=secret --auth=t --auth t", "a -pass=xxxxxx --auth=x --auth x"),
        ("a --pass --pass b", "a --pass xxxxxx b"),
        ("a --pass= b", "a --pass= b"),
        ("a --passive b --author c", "a --passive b --author c"),
        ("a --cluster nats://u:p@h:1", "a --cluster nats://xxx@h:1"),
        ("a --routes nats://u:p@h,nats://t@h", "a --routes nats://xxx@h,nats://x@h"),
        ("a --pass", "a --pass"),
    ],
)
def test_mask(arguments: str, masked: str) -> None:
    raw = arguments.replace(" ", "\0").encode() + b"\0"
    assert mask_arguments(raw).decode().rstrip("\0").replace("\0", " ") == masked
    assert len(mask_arguments(raw)) == len(raw)


def test_a_process_crosses_out_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOW, "--user", "u", "--pass", "secret", "--auth=t"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.splitlines() == [
        "a-very-long-pro",
        "[b'--user', b'u', b'--pass', b'xxxxxx', b'--auth=x']",
        "['--user', 'u', '--pass', 'secret', '--auth=t']",  # what the program has read it keeps
    ]


def test_a_server_shows_no_secret() -> None:
    server = launch(ONE, ["-a", "127.0.0.1", "-p", "-1", "--workers", "1", "--user", "u", "--pass", "hidden"])
    try:
        server.wait_ready()
        for pid in server.processes():
            assert b"hidden" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert Path(f"/proc/{server.pid}/comm").read_text() == "spline-server\n"
        server.stop()
    finally:
        server.destroy()
