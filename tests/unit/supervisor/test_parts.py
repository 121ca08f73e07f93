"""The supervisor's parts, one by one, without processes."""

from __future__ import annotations

import base64
import binascii
import errno
import os
import pickle
import select
import signal
import socket
import stat
import struct
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from broker.launch import Launch, read_launch, write_launch
from broker.options import Options, Secret, User
from supervisor import files, listeners
from supervisor.banner import has_plaintext_passwords
from supervisor.children import child_environment, how_it_ended
from supervisor.control import Channel
from supervisor.errors import StartError
from supervisor.heartbeat import SharedPage
from supervisor.identity import new_server_id
from supervisor.limits import worker_need
from supervisor.policy import Deaths, Policy
from supervisor.server import usable_workers
from supervisor.signals import SignalQueue


def test_restarts_wait_longer_and_longer_and_then_end() -> None:
    deaths = Deaths(Policy())
    delays = [deaths.add(now=100.0) for _ in range(11)]
    assert delays == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, None]


def test_old_deaths_are_forgotten() -> None:
    deaths = Deaths(Policy())
    assert [deaths.add(now=10.0 * index) for index in range(100)][7:] == [1.6] * 93
    assert deaths.add(now=5000.0) == 0.0


def test_server_id() -> None:
    identity = new_server_id()
    raw = base64.b32decode(identity)
    assert identity[0] == "N" and len(identity) == 56 and len(raw) == 35
    assert binascii.crc_hqx(raw[:-2], 0) == int.from_bytes(raw[-2:], "little")
    assert new_server_id() != identity


def test_shared_page() -> None:
    with closing(SharedPage(3, accounts=2)) as page:
        assert os.fstat(page.descriptor).st_size == 64 * 4 + 3 * (192 + 2 * 64)
        assert page.beat_ms(2) == 0
        os.pwrite(page.descriptor, struct.pack("=IIIIQ", 1, 7, 5, 0, 1 << 40), 64 * 3)
        assert page.beat_ms(2) == 1 << 40
        assert page.beat_ms(1) == 0
        page.make_room(4)
        size = 64 * 4 + 3 * (192 + 4 * 64)
        assert os.fstat(page.descriptor).st_size == size
        own, account = struct.pack("=24Q", *range(1, 25)), struct.pack("=IIIIQQQQQ8x", *range(1, 10))
        os.pwrite(page.descriptor, own * 3 + account * 12, 64 * 4)
        page.clear(2)
        assert os.pread(page.descriptor, 24, 64 * 3) == struct.pack("=IIIIQ", 0, 0, 5, 0, 1 << 40)
        # It has no connections and no subscriptions, but whatever was counted stays.
        own_left = struct.pack("=24Q", 0, 2, 0, *range(4, 25))
        left = account * 2 + struct.pack("=IIIIQQQQQ8x", 0, 0, 0, 0, *range(5, 10))
        assert os.pread(page.descriptor, size, 64 * 4) == own * 2 + own_left + left * 4
        page.make_room(1)
        assert os.fstat(page.descriptor).st_size == size and page.beat_ms(2) == 1 << 40


def test_launch_travels_in_memory() -> None:
    options = Options(password=Secret("hush"), users=[User("ann", Secret("pass"))])
    launch = Launch(1, 7, 2, "/run/x", options, "NID", 42, [5], 6, 7, [(8, 9), (10, 11)], 12)
    assert launch.descriptors() == [5, 6, 7, 12, 8, 9, 10, 11]
    assert read_launch(write_launch(launch)) == launch


def test_launch_of_something_else() -> None:
    memory = os.memfd_create("x")
    os.write(memory, pickle.dumps([1]))
    with pytest.raises(TypeError):
        read_launch(memory)


def test_channel_keeps_what_is_not_taken() -> None:
    channel, theirs = Channel.pair()
    with closing(channel), theirs:
        sent = 0
        while not channel.pending:
            channel.send({"n": sent})
            sent += 1
        channel.send({"n": sent})
        received = []
        while channel.pending or select.select([theirs], [], [], 0)[0]:
            received.append(theirs.recv(100))
            channel.flush()
        assert received == [b'{"n":%d}' % number for number in range(sent + 1)]


def test_channel_reads_messages_until_the_end() -> None:
    channel, theirs = Channel.pair()
    with closing(channel):
        for packet in (b'{"op":"bound"}', b"nonsense", b"[1]", b"\xff", b'{"op":"ready"}'):
            theirs.send(packet)
        assert channel.receive() == [{"op": "bound"}, {"op": "ready"}]
        assert not channel.ended
        theirs.close()
        assert channel.receive() == [] and channel.ended
        channel.send({"op": "stop"})  # nobody is there: nothing happens
        assert not channel.pending


def test_signals_queue_in_order() -> None:
    numbers = (signal.SIGUSR2, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}
    with closing(SignalQueue(numbers)) as queue:
        assert queue.read() == []
        for number in (signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR2):
            signal.raise_signal(number)
        assert queue.read() == [signal.SIGUSR2, signal.SIGUSR1]
    os.kill(os.getpid(), signal.SIGUSR1)  # ignored now
    for number, handler in before.items():
        signal.signal(number, handler)


def test_listen_on_any_port_of_all_addresses() -> None:
    with closing(listeners.listen("0.0.0.0", -1)) as bound:
        assert bound.address == f"0.0.0.0:{bound.port}" and bound.port > 0
        assert {each.getsockname()[1] for each in bound.sockets} == {bound.port}
        assert not any(each.getblocking() for each in bound.sockets)
        socket.create_connection(("127.0.0.1", bound.port), timeout=5).close()


def test_listen_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    bind = listeners._bind

    def only_ipv4(family: socket.AddressFamily, address: tuple[object, ...], port: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "")
        return bind(family, address, port)

    monkeypatch.setattr(listeners, "_bind", only_ipv4)
    with closing(listeners.listen("", -1)) as bound:
        assert [each.family for each in bound.sockets] == [socket.AF_INET]
    with pytest.raises(StartError, match="address family not supported"):
        listeners.listen("::1", -1)


def test_listen_by_name_and_by_ipv6() -> None:
    with closing(listeners.listen("localhost", -1)) as bound:
        assert [each.getsockname()[0] for each in bound.sockets] == ["127.0.0.1"]
        assert bound.address == f"localhost:{bound.port}"
    with closing(listeners.listen("::1", -1)) as bound:
        assert bound.address == f"[::1]:{bound.port}"


def test_listen_on_an_unknown_name() -> None:
    with pytest.raises(StartError) as caught:
        listeners.listen("no such name", 4222)
    assert str(caught.value) == (
        'Error listening on port: no such name:4222, "listen tcp: lookup no such name: no such host"'
    )


def test_run_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/../tmp:/run/other")
    previous = os.umask(0o277)
    made = files.make_run_dir()
    os.umask(previous)
    assert made.path.startswith("/run/../tmp/spline-server.")
    assert stat.S_IMODE(os.stat(made.path).st_mode) == 0o700
    inner = Path(made.path) / "inner"
    inner.mkdir()
    (inner / "file").touch()
    (inner.parent / "file").touch()
    made.remove()
    assert not os.path.exists(made.path)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for run directories whose name is short enough."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        monkeypatch.setenv("RUNTIME_DIRECTORY", name)
        yield Path(name)


def test_run_dirs_of_the_killed_are_removed(place: Path) -> None:
    living, killed = files.make_run_dir(), files.make_run_dir()
    (Path(killed.path) / "socket").touch()
    os.close(killed.lock)
    for name in ("spline-server.conf", "spline-server.12345678x", "other"):
        (place / name).mkdir()
    (place / "spline-server.ffffffff").symlink_to(place / "other")
    third = files.make_run_dir()
    assert not os.path.exists(killed.path)
    assert os.path.exists(living.path) and os.path.exists(third.path)
    assert len(list(place.iterdir())) == 6
    living.remove()
    third.remove()


def test_run_dir_must_be_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(long))
    made = files.make_run_dir()
    made.remove()
    assert len(made.path) < 108 - 32


def test_pid_file_of_another_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    files.write_pid_file(str(path), 12)
    assert path.read_bytes() == b"12" and stat.S_IMODE(path.stat().st_mode) == 0o600
    files.remove_pid_file(str(path), 1)
    assert path.exists()
    files.remove_pid_file(str(path), 12)
    assert not path.exists()
    files.remove_pid_file(str(path), 12)


@pytest.mark.parametrize(
    ("options", "plain"),
    [
        (Options(), False),
        (Options(token=Secret("t")), False),
        (Options(username="a", password=Secret("b")), True),
        (Options(username="a", password=Secret("$2a$11$abcdefghijklmnopqrstuv")), False),
        (Options(users=[User("a", Secret(""))]), True),
        (Options(users=[User("a", Secret("$2b$11$abc"))]), False),
    ],
)
def test_plaintext_passwords(options: Options, plain: bool) -> None:
    assert has_plaintext_passwords(options) is plain


def test_numbers() -> None:
    assert usable_workers(0) == len(os.sched_getaffinity(0))
    assert usable_workers(5) == 5 and usable_workers(500) == 63
    assert worker_need(1) < worker_need(2) < worker_need(63)


def test_how_children_end() -> None:
    assert how_it_ended(2) == "exited with code 2"
    assert how_it_ended(-signal.SIGSEGV) == "was killed by SIGSEGV"
    assert how_it_ended(-40) == "was killed by signal 40"


def test_children_find_the_same_packages() -> None:
    environment = child_environment({"A": "b", "PYTHONPATH": "/x"})
    assert environment["A"] == "b"
    assert environment["PYTHONPATH"].split(os.pathsep) == ["/x", str(Path(__file__).parents[3])]
