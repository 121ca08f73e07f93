"""The children's lives: start, introduce to each other, watch, replace, stop.

A worker is starting, bound (its mesh addresses listen), ready (it takes clients), and then dead. Every change
of who is bound is told to all of them. The first list goes out when all of the first generation are bound, so
that a server starts as one; afterwards each newcomer joins alone.

The gateway is one more child, started with the workers, if there is something for it to do. Clients can do without it: the
server is ready when it is or has died once, and however often it dies, it is started again and the server goes on.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import broker
from broker.launch import Launch, write_launch
from broker.log import Log
from supervisor.control import Channel
from supervisor.errors import StartError, system_text
from supervisor.heartbeat import SharedPage
from supervisor.policy import Deaths, Policy

CANNOT_START: Final = 3  # a child's exit code: it is no use to try again


@dataclass(slots=True)
class Child:
    """One process. Times are seconds of CLOCK_MONOTONIC."""

    index: int
    serial: int
    process: subprocess.Popen[bytes]
    channel: Channel
    started: float
    bound: bool = False
    ready_at: float | None = None
    lost_at: float | None = None  # its control channel ended
    condemned: bool = False  # it hangs, and was sent SIGABRT
    term_at: float | None = None  # SIGTERM is due
    kill_at: float | None = None  # SIGKILL is due
    last_words: str = ""  # why it cannot start
    gateway: bool = False
    stopping: bool = False  # it has been told to

    @property
    def name(self) -> str:
        """What the log calls it."""
        what = "Gateway" if self.gateway else f"Worker {self.index}"
        return f"{what} (pid {self.process.pid})"


class Children:
    """All workers. The owner's loop calls what is registered in ``selector``, ``reap()`` and ``tick()``.

    ``failure`` becomes the reason why the server cannot go on; acting on it is up to the owner. While ``hold`` is
    set, nothing is restarted. ``on_message`` is told what children say that is not about their own lives, ``on_death``
    who has died.
    """

    def __init__(
        self,
        argv: Sequence[str],
        launch: Launch,
        page: SharedPage,
        selector: selectors.BaseSelector,
        log: Log,
        policy: Policy,
    ) -> None:
        """``argv`` (and a descriptor's number) starts a child; ``launch`` is what all of them share."""
        self.failure: str | None = None
        self.served = False  # all were ready once
        self.hold = False
        self.on_message: Callable[[Child, Mapping[str, object]], None] | None = None
        self.on_death: Callable[[Child], None] | None = None
        self._argv = list(argv)
        self._environment = child_environment(os.environ)
        self._launch = launch
        self._page = page
        self._selector = selector
        self._log = log
        self._policy = policy
        self._serial = 0
        self._living: dict[int, Child] = {}
        self._restarts: dict[int, float] = {}  # index -> when
        self._gateway = launch.workers  # its index
        self._deaths = [Deaths(policy) for _ in range(launch.workers + 1)]
        self._boot_deaths = 0
        self._introduced = False  # the first list has been sent
        self._stopping_since: float | None = None
        self._farewell_until: float | None = None  # the gateway has this long to say goodbye
        self._last_tick = time.monotonic()

    @property
    def living(self) -> int:
        """How many processes there are."""
        return len(self._living)

    @property
    def ready(self) -> int:
        """How many of them take clients."""
        return sum(child.ready_at is not None and not child.gateway for child in self._living.values())

    def all(self) -> list[Child]:
        """All that live."""
        return list(self._living.values())

    def send(self, child: Child, message: dict[str, object], descriptor: int = -1) -> None:
        """Tell one something, with a copy of a descriptor. OSError: no descriptors left."""
        child.channel.send(message, descriptor)
        if child.lost_at is None:
            self._watch(child)

    def relaunch_with(self, **changes: Any) -> None:
        """What is different for those that will be started from now on (fields of ``Launch``)."""
        self._launch = replace(self._launch, **changes)

    def reap_strangers(self) -> None:
        """As a container's first process we inherit the orphans of all others: nobody else can bury them."""
        known = {child.process.pid for child in self._living.values()}
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if found.si_pid in known:
                    return  # its turn comes with the next reap()
                os.waitpid(found.si_pid, os.WNOHANG)

    def pids(self) -> list[int]:
        """Their process ids, by worker number, the gateway's last."""
        return [child.process.pid for _, child in sorted(self._living.items())]

    def start(self) -> None:
        """Start all workers, side by side. StartError: the system does not let us."""
        for index in range(self._launch.processes):
            try:
                self._spawn(index)
            except OSError as error:
                raise StartError(f"Could not start {self._who(index)}: {system_text(error)}") from error

    def stop(self) -> None:
        """Begin to stop all, the gateway first; ``living`` becomes 0 within ``farewell`` and ``kill_after`` or little more."""
        if self._stopping_since is not None:
            return
        self._stopping_since = time.monotonic()
        self._restarts.clear()
        gateway = self._living.get(self._gateway)
        if gateway is not None and gateway.ready_at is not None:
            self._farewell_until = self._stopping_since + self._policy.farewell
            self._stop(gateway)
        else:
            self._stop_all()

    def _stop_all(self) -> None:
        """The gateway has said goodbye, in the name of the server, to all who listen; now their connections end."""
        self._farewell_until = None
        for child in self._living.values():
            if not child.stopping:
                self._stop(child)

    def _stop(self, child: Child) -> None:
        now = time.monotonic()
        child.stopping = True
        child.kill_at = min(now + self._policy.kill_after, child.kill_at or math.inf)
        if child.bound:
            child.term_at = now + self._policy.term_after
            self.send(child, {"op": "stop"})
        else:  # it may take a while until it listens, and has nothing to bring to an end
            child.process.terminate()

    def kill(self) -> None:
        """End all at once and wait for it: the way out when something unforeseen has happened."""
        for child in list(self._living.values()):
            child.process.kill()
            child.process.wait()
            self._forget(child)

    def reap(self) -> None:
        """Attend to every child that has died (the kernel said that some have)."""
        for child in list(self._living.values()):
            if child.process.poll() is not None:
                self._died(child)
        self.reap_strangers()

    def tick(self) -> float:
        """Do what is due; returns in how many seconds to call again at the latest."""
        now = time.monotonic()
        late = now - self._last_tick > self._policy.tick + 1.0
        self._last_tick = now
        for child in list(self._living.values()):
            if late and child.ready_at is not None:
                child.ready_at = now  # we were not running: perhaps the whole machine was not
            self._look_after(child, now)
        for index, due in list(self._restarts.items()):
            if now >= due and not self.hold:
                del self._restarts[index]
                self._respawn(index)
        if self._farewell_until is not None and now >= self._farewell_until:
            self._stop_all()
        deadlines = [] if self.hold else [*self._restarts.values()]
        if self._farewell_until is not None:
            deadlines.append(self._farewell_until)
        for child in self._living.values():
            deadlines += [due for due in (child.term_at, child.kill_at) if due is not None]
        return max(0.0, min([self._policy.tick, *(due - now for due in deadlines)]))

    def _look_after(self, child: Child, now: float) -> None:
        """Send the signals that are due, and see whether it is alive at all."""
        if child.term_at is not None and now >= child.term_at:
            child.process.terminate()
            child.term_at = None
        if child.kill_at is not None and now >= child.kill_at:
            child.process.kill()
            child.kill_at = None
        if child.condemned or self._stopping_since is not None:
            return
        reason = self._hangs(child, now)
        if reason:
            self._log.error(f"{child.name} {reason}: killing it")
            child.condemned = True
            child.kill_at = now + self._policy.abort_grace
            child.process.send_signal(signal.SIGABRT)
            child.process.send_signal(signal.SIGCONT)  # a stopped one could not print it

    def _hangs(self, child: Child, now: float) -> str:
        """Why this child is taken for dead, or nothing."""
        if child.lost_at is not None and now - child.lost_at > self._policy.lost_grace:
            return "does not listen to its supervisor any more"
        if child.ready_at is None:
            if now - child.started > self._policy.boot_timeout:
                return f"is not ready {now - child.started:.1f}s after its start"
            return ""
        silence = now - max(self._page.beat_ms(child.index) / 1000, child.ready_at)
        return f"gave no sign of life for {silence:.1f}s" if silence > self._policy.beat_timeout else ""

    def _spawn(self, index: int) -> None:
        """Start one child. OSError: no descriptors, memory or processes left."""
        serial = self._serial + 1
        channel, theirs = Channel.pair()
        with theirs:
            try:
                launch = replace(self._launch, index=index, serial=serial, control=theirs.fileno())
                if index == self._gateway:
                    process = self._execute(gateway_argv(), replace(launch, listeners=[], handoff=[]))
                else:
                    process = self._execute(self._argv, replace(launch, http=[]))
            except BaseException:
                channel.close()
                raise
        self._serial = serial
        child = Child(index, serial, process, channel, time.monotonic(), gateway=index == self._gateway)
        self._living[index] = child
        self._selector.register(channel, selectors.EVENT_READ, lambda events: self._spoke(child, events))

    def _execute(self, argv: Sequence[str], launch: Launch) -> subprocess.Popen[bytes]:
        memory = write_launch(launch)
        try:
            return subprocess.Popen(
                [*argv, str(memory)],
                stdin=subprocess.DEVNULL,
                pass_fds=[memory, *launch.descriptors()],
                env=self._environment,
                process_group=0,  # ^C on a terminal is for the supervisor, which stops them in order
            )
        finally:
            os.close(memory)

    def _respawn(self, index: int) -> None:
        try:
            self._spawn(index)
        except OSError as error:
            self._plan(index, f"Could not start {self._who(index)}: {system_text(error)}")

    def _who(self, index: int) -> str:
        return "the gateway" if index == self._gateway else f"worker {index}"

    def _spoke(self, child: Child, events: int) -> None:
        """The control channel of a child is ready."""
        if events & selectors.EVENT_WRITE:
            child.channel.flush()
        if events & selectors.EVENT_READ:
            for message in child.channel.receive():
                self._heard(child, message)
            if child.channel.ended:
                child.lost_at = time.monotonic()
                self._selector.unregister(child.channel)
                return
        self._watch(child)

    def _heard(self, child: Child, message: Mapping[str, object]) -> None:
        match message.get("op"):
            case "bound" if not child.bound:
                child.bound = True
                self._introduce()
            case "ready" if child.ready_at is None:
                child.ready_at = time.monotonic()
                self._became_ready(child)
            case "farewell":
                if self._farewell_until is not None:
                    self._stop_all()
            case "fatal":
                child.last_words = str(message.get("text", ""))
            case "prepared" | "committed" | "empty" | "reload" if self.on_message is not None:
                self.on_message(child, message)
            case _:
                self._log.warn(f"{child.name} says what is not understood: {str(message)[:200]}")

    def _became_ready(self, child: Child) -> None:
        if self.served:
            self._log.info(f"{child.name} is ready")
            return
        self._log.debug(f"{child.name} is ready")
        self._look_whether_all_serve()

    def _look_whether_all_serve(self) -> None:
        """For the first time: all workers, and the gateway, unless it has shown that it needs longer."""
        ready = {child.index for child in self._living.values() if child.ready_at is not None}
        if self._deaths[self._gateway].times:
            ready.add(self._gateway)
        if self.served or len(ready) < self._launch.processes:
            return
        self.served = True
        if self._stopping_since is None:
            self._log.info("Server is ready")

    def _introduce(self) -> None:
        """Tell everybody who is there."""
        there = [child for _, child in sorted(self._living.items()) if child.bound]
        workers = [child for child in there if not child.gateway]
        if not self._introduced and len(workers) < self._launch.workers:
            return
        self._introduced = True
        peers = [[child.index, child.serial] for child in there]
        for child in there:
            self.send(child, {"op": "peers", "peers": peers})

    def _watch(self, child: Child) -> None:
        """Wait for room in the channel only while there is something to send."""
        key = self._selector.get_key(child.channel)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if child.channel.pending else 0)
        if key.events != events:
            self._selector.modify(child.channel, events, key.data)

    def _forget(self, child: Child) -> None:
        """Remove every trace of a dead child."""
        if child.lost_at is None:
            self._selector.unregister(child.channel)
        child.channel.close()
        del self._living[child.index]
        self._page.clear(child.index)

    def _died(self, child: Child) -> None:
        for message in child.channel.receive():  # what it said last may say why
            if message.get("op") == "fatal":
                self._heard(child, message)
        code = child.process.returncode
        self._forget(child)
        if self.on_death is not None:
            self.on_death(child)
        if self._stopping_since is not None:
            if child.gateway and self._farewell_until is not None:
                self._stop_all()
            return
        if child.bound:
            self._introduce()
        if code == CANNOT_START and not self.served and not child.gateway:
            self.failure = child.last_words or f"Worker {child.index} could not start"
            return
        self._plan(child.index, f"{child.name} {how_it_ended(code)}" + suffix(child.last_words))

    def _plan(self, index: int, what: str) -> None:
        """A child is missing: log why, and decide when to start the next one."""
        now = time.monotonic()
        delay = self._deaths[index].add(now)
        if index == self._gateway and delay is None:
            delay = self._policy.max_delay
        if not self.served and index != self._gateway:
            self._boot_deaths += 1
            if self._boot_deaths > self._policy.max_boot_deaths:
                delay = None
        if delay is None:
            self._log.error(what)
            since = f"within {self._policy.window:.0f}s" if self.served else "before the server was ready"
            deaths = len(self._deaths[index].times) if self.served else self._boot_deaths
            who = f"Worker {index}" if self.served else "Workers"
            self.failure = f"{who} died {deaths} times {since}, giving up"
            return
        self._log.error(f"{what}, restarting {f'in {delay:.1f}s' if delay else 'it'}")
        self._restarts[index] = now + delay
        if index == self._gateway:
            self._look_whether_all_serve()


def default_argv() -> list[str]:
    """The command that starts a worker. ``-P``: modules in the working directory are none of ours."""
    return [sys.executable, "-P", "-m", "broker.worker"]


def gateway_argv() -> list[str]:
    """The command that starts the gateway."""
    return [sys.executable, "-P", "-m", "broker.gateway"]


def child_environment(own: Mapping[str, str]) -> dict[str, str]:
    """Our environment, made so that a child finds the same packages wherever we were started from."""
    environment = dict(own)
    root = os.path.dirname(os.path.dirname(os.path.abspath(broker.__file__ or "")))
    if os.path.basename(root) not in ("site-packages", "dist-packages"):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [own.get("PYTHONPATH"), root]))
    return environment


def how_it_ended(code: int) -> str:
    """A process's return code in words."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def suffix(text: str) -> str:
    """``text`` after a colon, if there is any."""
    return f": {text}" if text else ""
