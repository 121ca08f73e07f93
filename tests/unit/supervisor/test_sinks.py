"""What the log can be: a file, syslog."""

from __future__ import annotations

import errno
import os
import re
import socket
from pathlib import Path

import pytest

from supervisor import sinks
from supervisor.sinks import File, Syslog


def line(level: str, text: str) -> bytes:
    return f"[{level}] {text}\n".encode()


class Disk:
    """A disk with a certain number of bytes left."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 1 << 30
        self.write = os.write
        monkeypatch.setattr(sinks.os, "write", self.put)

    def put(self, descriptor: int, data: bytes | memoryview) -> int:
        if descriptor == 2:
            return len(data)
        if not self.left:
            raise OSError(errno.ENOSPC, "")
        done = self.write(descriptor, bytes(data[: self.left]))
        self.left -= done
        return done


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.mark.parametrize(
    ("room", "kept", "lost"),
    [
        (0, "", 3),
        (2, "aa\n", 3),
        (4, "aaaa\n", 3),  # its line end did not fit: it is given one, and counts as lost
        (5, "aaaa\n", 2),
        (7, "aaaa\nbb\n", 2),
        (10, "aaaa\nbbbb\n", 1),
    ],
)
def test_a_full_disk(tmp_path: Path, disk: Disk, room: int, kept: str, lost: int) -> None:
    path = tmp_path / "log"
    file = File(str(path), 0, 0, line)
    disk.left = room
    file.write(b"aaaa\nbbbb\ncccc\n")
    for _ in range(4):
        file.write(b"dddd\n")
    disk.left = 3
    file.write(b"eeee\n")  # not even the report fits
    disk.left = 1000
    file.write(b"ffff\n")
    file.close()
    text = path.read_text()
    report = re.search(r"\[ERR\] (\d+) log lines were lost: no space left on device\n", text)
    assert report is not None and int(report[1]) == lost + 5
    assert text.startswith(kept) and text.endswith("ffff\n")
    assert all(re.fullmatch(r"[a-f]*|\n?|\[ERR\] .*|\[E?R?", each) for each in text.splitlines()), text


def test_rotation_by_size(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = File(str(path), 100, 0, line)
    file.write(b"".join(b"%09d\n" % number for number in range(100)))
    file.close()
    files = [*sorted(tmp_path.glob("log.*")), path]
    assert len(files) > 5
    lines = [each for one in files for each in one.read_text().splitlines()]
    assert [int(each) for each in lines if each.isdecimal()] == list(range(100))
    for one in files[:-1]:
        assert 100 < one.stat().st_size <= 210  # the line about the rotation is longer than the limit here
    for one in files[1:]:
        assert one.read_text().startswith('[INF] Rotated log, backup saved as "')


def test_only_so_many_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "log"
    (tmp_path / "log.of.something.else").write_text("x")
    file = File(str(path), 100, 3, line)
    for number in range(100):
        file.write(b"%09d\n" % number)
    file.close()
    backups = sorted(each.name for each in tmp_path.glob("log.2*"))
    assert len(backups) == 2
    assert (tmp_path / "log.of.something.else").exists()
    assert "000000099" in path.read_text() + (tmp_path / backups[-1]).read_text()


def test_a_rotation_that_fails_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "")

    path = tmp_path / "log"
    file = File(str(path), 100, 0, line)
    with monkeypatch.context() as patch:
        patch.setattr(sinks.os, "rename", refuse)
        for number in range(30):
            file.write(b"%09d\n" % number)
    text = path.read_text()
    assert 1 <= text.count("[ERR] Unable to rotate logfile: permission denied") <= 5
    assert text.count("\n0000") + text.startswith("0000") == 30
    for number in range(30):
        file.write(b"%09d\n" % number)
    file.close()
    assert list(tmp_path.glob("log.2*"))


def test_a_file_that_cannot_be_opened_again_stays(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    file = File(str(folder / "log"), 0, 0, line)
    moved = tmp_path / "moved"
    folder.rename(moved)
    file.reopen()
    file.write(b"x\n")
    file.close()
    assert (moved / "log").read_text() == "[ERR] Unable to re-open logfile: no such file or directory\nx\n"


def test_a_syslog_daemon_that_is_restarted(tmp_path: Path) -> None:
    path = tmp_path / "log"

    def daemon() -> socket.socket:
        end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        end.bind(str(path))
        end.settimeout(10)
        return end

    with daemon() as first:
        syslog = Syslog(f"unixgram://{path}", "spline-server")
        syslog.write(b"<5>one\n<3>two\n")
        assert re.fullmatch(rb"<5>\S+ \S+ spline-server\[\d+\]: one\n", first.recv(1000))
        assert re.fullmatch(rb"<3>\S+ \S+ spline-server\[\d+\]: two\n", first.recv(1000))
    path.unlink()
    syslog.write(b"<5>lost\n<5>lost, too\n")
    with daemon() as second:
        syslog.write(b"<6>three\nno severity\n")
        assert second.recv(1000).endswith(b": 2 log lines were lost: no syslog\n")
        assert second.recv(1000).endswith(b": three\n")
        assert re.fullmatch(rb"<5>.*: no severity\n", second.recv(1000))
    syslog.close()


@pytest.mark.parametrize("address", ["http://x", "nonsense"])
def test_no_address_of_a_syslog(address: str) -> None:
    with pytest.raises(ValueError, match="invalid network type"):
        Syslog(address, "x")


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        Syslog(f"unix://{tmp_path}/none", "x")
