"""The example configurations: each is valid for us and for nats-server, and a server starts with it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.harness import ONE, REAL, ROOT, Raw, command, launch, until

EXAMPLES = sorted((ROOT / "deploy" / "examples").glob("*.conf"))
OURS = ("workers:",)  # options that nats-server has not
LOG_FOLDER = "/var/log/spline"
BY_USER = {"users": {"user": "admin", "pass": "change me"}, "production": {"auth_token": "change me"}}


def test_there_are_examples() -> None:
    assert {"simple", "users", "production"} <= {file.stem for file in EXAMPLES}


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example(file: Path, tmp_path: Path) -> None:
    text = file.read_text().replace(LOG_FOLDER, str(tmp_path))
    ours, theirs = tmp_path / "ours.conf", tmp_path / "theirs.conf"
    ours.write_text(text)
    theirs.write_text("\n".join(line for line in text.splitlines() if not line.startswith(OURS)))
    for kind, conf in ((ONE, ours), (REAL, theirs)):
        done = subprocess.run(
            [*command(kind), "-c", str(conf), "-t"], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0 and "is valid" in done.stderr, done.stderr
    log = tmp_path / "log"
    server = launch(
        ONE,
        ["-c", str(ours), "-a", "127.0.0.1", "-p", "-1", "-l", str(log), "--ports_file_dir", str(tmp_path)],
    )
    try:
        until(lambda: log.exists() and "Server is ready" in log.read_text())
        port = int(next(tmp_path.glob("*.ports")).read_text().rpartition(":")[2].rstrip('"]}'))
        client = Raw(port)
        client.hello(**BY_USER.get(file.stem, {}))
        client.close()
        server.stop()
    finally:
        server.destroy()


def test_the_units_agree_with_the_program() -> None:
    """What the unit relies on: its commands, and more time to stop than lame duck mode takes by default."""
    unit = (ROOT / "deploy" / "spline-server.service").read_text()
    for line in (
        "Type=notify",
        "ExecStart=/opt/spline/bin/spline-server -c /etc/spline/server.conf",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "ExecStop=/bin/kill -USR2 $MAINPID",
        "TimeoutStopSec=150s",
    ):
        assert line in unit.splitlines()
