"""A server's files: its pid file, and a private directory for the sockets between its processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass
from typing import Final

from supervisor.errors import StartError, system_text

# An address of a unix socket has 107 bytes, of which the names in the run directory may use this many.
_ADDRESS_BYTES: Final = 107
_NAME_BYTES: Final = 32
_PREFIX: Final = "spline-server."
_RANDOM_BYTES: Final = 4


@dataclass(slots=True)
class RunDir:
    """A private directory that is locked as long as its server lives."""

    path: str
    lock: int  # descriptor

    def remove(self) -> None:
        """Remove it and what is in it."""
        _remove_tree(self.path)
        os.close(self.lock)


def make_run_dir() -> RunDir:
    """A new private directory (mode 0700) in systemd's $RUNTIME_DIRECTORY, /run or /tmp.

    What killed servers have left there is removed. StartError: a directory can be made in none of them.
    """
    inherited = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    reason = "no place is short enough for socket addresses"
    for place in (inherited, "/run", "/tmp"):
        path = os.path.join(place, f"{_PREFIX}{os.urandom(_RANDOM_BYTES).hex()}")
        if not place or len(os.fsencode(path)) > _ADDRESS_BYTES - _NAME_BYTES:
            continue
        try:
            lock = _make_locked(path)
        except OSError as error:
            reason = f"mkdir {path}: {system_text(error)}"
            continue
        _remove_abandoned(place)
        return RunDir(path, lock)
    raise StartError(f"Could not create a run directory: {reason}")


def _make_locked(path: str) -> int:
    """Make a directory that bears its name only when it is locked; returns the lock. OSError: cannot."""
    nameless = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}")
    os.mkdir(nameless, 0o700)
    try:
        os.chmod(nameless, 0o700)  # whatever the umask is
        lock = os.open(nameless, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.rename(nameless, path)
    except OSError:
        os.rmdir(nameless)
        raise
    return lock


def _remove_abandoned(place: str) -> None:
    """Remove run directories of our user that nobody holds locked: their servers were killed."""
    with contextlib.suppress(OSError):
        for name in os.listdir(place):
            if name.startswith(_PREFIX) and len(name) == len(_PREFIX) + 2 * _RANDOM_BYTES:
                _remove_if_unlocked(os.path.join(place, name))


def _remove_if_unlocked(path: str) -> None:
    with contextlib.suppress(OSError):
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(lock).st_uid == os.geteuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove_tree(path)
        finally:
            os.close(lock)


def _remove_tree(path: str) -> None:
    """Remove a directory and what is in it. What is gone or cannot be removed is left as it is."""
    for folder, _, files in os.walk(path, topdown=False):
        with contextlib.suppress(OSError):
            for name in files:
                os.unlink(os.path.join(folder, name))
            os.rmdir(folder)


def write_pid_file(path: str, pid: int) -> None:
    """Write the decimal pid without a line end, as nats-server does. StartError: cannot."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(str(pid))
    except OSError as error:
        raise StartError(f"Could not write pidfile: open {path}: {system_text(error)}") from error


def remove_pid_file(path: str, pid: int) -> None:
    """Take back the pid file of a start that failed, unless it is somebody else's by now."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            ours = file.read(32) == str(pid)
    except OSError:
        return
    if ours:
        with contextlib.suppress(OSError):
            os.unlink(path)
