"""A reload takes place in all processes or in none."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from .conftest import FakeServer, Start

FILE = {"config_file": "options"}


def change(server: FakeServer, **options: object) -> int:
    """Let the server read other options; returns the position in the log from which its answer is to be looked for."""
    file = server.folder / "options"
    file.write_text(json.dumps(json.loads(file.read_text()) | options))
    mark = server.log.mark()
    server.process.send_signal(signal.SIGHUP)
    return mark


def test_all(start: Start) -> None:
    server = start(options=FILE)
    mark = change(server, max_connections=77)
    for index in range(2):
        server.log.wait_for(f"limit {index} 77", since=mark)
    server.log.wait_for("Reloaded: max_connections = 77", since=mark)
    server.log.wait_for("Reloaded server configuration", since=mark)
    os.kill(server.child(0), signal.SIGKILL)
    server.log.wait_for("begins 0 3 77", since=mark)
    server.stop()


def test_one_refuses(start: Start) -> None:
    server = start(options=FILE, orders={"1": "refuses"})
    mark = change(server, max_connections=77)
    server.log.wait_for(
        r"Failed to reload server configuration: Worker 1 \(pid \d+\): it is not to my taste", since=mark
    )
    for index in range(2):
        server.log.wait_for(f'heard {index} {{"op": "abort", "id": 1}}', since=mark)
    os.kill(server.child(0), signal.SIGKILL)
    server.log.wait_for("begins 0 3 100", since=mark)
    assert '"commit"' not in server.log.text
    server.stop()


def test_one_does_not_answer(start: Start) -> None:
    server = start(options=FILE, orders={"0": "mute"}, policy={"reload_patience": 0.3})
    mark = change(server, max_connections=77)
    server.log.wait_for(
        r"Failed to reload server configuration: Worker 0 \(pid \d+\) did not answer", since=mark
    )
    assert '"commit"' not in server.log.text
    server.stop()


def test_one_dies_of_it(start: Start) -> None:
    """It is not waited for, and its successor begins with what the others have."""
    server = start(options=FILE, orders={"1": "dies ok"})
    mark = change(server, max_connections=77)
    server.log.wait_for("limit 0 77", since=mark)
    server.log.wait_for("Reloaded server configuration", since=mark)
    server.log.wait_for("begins 1 3 77", since=mark)
    server.stop()


def test_two_in_a_row(start: Start) -> None:
    """What comes while one is under way is done afterwards, with what the file says then."""
    server = start(options=FILE, orders={"0": "mute"}, policy={"reload_patience": 0.5})
    mark = change(server, max_connections=77)
    server.log.wait_for('heard 0 {"op": "prepare", "id": 1}', since=mark)
    change(server, max_connections=88)
    server.log.wait_for("did not answer", since=mark)
    server.log.wait_for('heard 1 {"op": "prepare", "id": 2}', since=mark)
    server.stop()


def test_what_cannot_change_is_refused_before_anybody_is_asked(start: Start) -> None:
    server = start(options=FILE)
    mark = change(server, workers=5, max_connections=77)
    server.log.wait_for(
        "Failed to reload server configuration: config reload not supported for Workers", since=mark
    )
    assert '"prepare"' not in server.log.text
    server.stop()


def test_stop_during_a_reload(start: Start) -> None:
    server = start(options=FILE, orders={"0": "mute"})
    mark = change(server, max_connections=77)
    server.log.wait_for('heard 0 {"op": "prepare", "id": 1}', since=mark)
    server.stop()


def test_files_that_are_elsewhere_now(start: Start, tmp_path: Path) -> None:
    server = start(options=FILE)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        mark = change(server, pid_file=str(tmp_path / folder / "pid"), ports_file_dir=str(tmp_path / folder))
        server.log.wait_for("Reloaded server configuration", since=mark)
        assert (tmp_path / folder / "pid").read_text() == str(server.pid)
        assert len(list((tmp_path / folder).glob("*.ports"))) == 1
    assert not list((tmp_path / "one").glob("*.ports"))
    mark = change(server, pid_file="/nonexistent/pid", ports_file_dir="")
    server.log.wait_for(
        "Could not write pidfile: open /nonexistent/pid: no such file or directory", since=mark
    )
    server.log.wait_for("Reloaded server configuration", since=mark)
    assert not list((tmp_path / "two").glob("*.ports"))
    server.stop()
