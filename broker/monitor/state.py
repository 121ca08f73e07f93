"""The server as monitoring sees it: reads what is counted, asks the workers for the rest, keeps what lies between two samples.

Counters are in the page that all processes share, so that neither a worker's death nor ours takes anything back.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from broker.accounts.names import system_account
from broker.core import Core
from broker.launch import Launch
from broker.mesh.collect import Questions
from broker.monitor.busiest import RATES, Busiest
from broker.monitor.counted import Counted, add_sublists
from broker.monitor.encode import time_text
from broker.monitor.pace import each
from broker.monitor.usage import Usage, usage_of
from broker.options import Options
from broker.shared import Page

SAMPLES: Final = 180
SAMPLE_SECONDS: Final = 1.0


@dataclass(slots=True)
class Sample:
    """The server at one moment; rates are per second since the sample before."""

    time_ns: int
    connections: int = 0
    subscriptions: int = 0
    cpu: float = 0.0  # percent of one core
    rates: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Process:
    """One process of the server. ``index`` -1: the supervisor."""

    role: str
    index: int
    pid: int
    serial: int = 0
    usage: Usage | None = None
    cpu: float = 0.0  # percent of one core, over the last second
    healthy: bool = True
    silence_ms: int = 0
    stats: dict[str, int] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)


class Server:
    """All that the endpoints need. Everything that waits is a question to the workers."""

    def __init__(self, launch: Launch, questions: Questions, page: Page, core: Core) -> None:
        self.options: Options = launch.options
        self.server_id = launch.server_id
        self.started_ns = launch.started_ns
        self.loaded_ns = launch.started_ns  # the configuration
        self.questions = questions
        self.requests: Counter[str] = Counter()
        self.history: deque[Sample] = deque(maxlen=SAMPLES)
        self.restarts = 0
        self._page = page
        self._workers = launch.workers
        self._index = launch.index
        self.pid = launch.server_pid  # the supervisor's
        self._core = core
        self._counted = Counted(core, launch.options)
        self.busiest = Busiest()
        self._met = False
        self._usages: dict[int, tuple[float, Usage, float]] = {}  # pid: when, what, percent
        self._used_at = 0.0
        self._previous: dict[int, tuple[float, dict[str, int]]] = {}  # worker: when, stats
        self._worker_rates: dict[int, dict[str, float]] = {}

    @property
    def name(self) -> str:
        """The server's name."""
        return self.options.server_name or self.server_id

    @property
    def accepting(self) -> bool:
        """Does any worker take clients?"""
        return any(self._page.accepting(index) for index in range(self._workers))

    def meet(self, workers: Iterable[tuple[int, int]]) -> None:
        """The supervisor's list of who there is."""
        listed = list(workers)
        known = set(self.questions.workers().values())
        self.restarts += sum(self._met and serial not in known for _, serial in listed)
        self._met = True
        self.questions.meet(listed)

    def sums(self) -> Counter[str]:
        """The counters of the whole server, as of now."""
        sums: Counter[str] = Counter()
        for index in range(self._workers):
            sums.update(self._core.counters.stats(index))
        return sums

    @property
    def accounts(self) -> Counted:
        """What is counted of the accounts that there are now."""
        if self._counted.options is not self.options:
            self._counted = Counted(self._core, self.options)
        return self._counted

    def counted(self, name: str) -> Counter[str] | None:
        """What has been counted of one account; None: there is none of this name."""
        accounts = self.accounts
        return accounts.of(name) if name in accounts else None

    async def sublists(self, name: str = "") -> Counter[str]:
        """What has been counted of the sublists of one account, or of all, and of these accounts."""
        sums: Counter[str] = Counter()
        accounts = self.accounts

        def add(one: str) -> None:
            counted = accounts.of(one)
            accounts.add_sublist(one, counted)
            add_sublists(sums, counted)

        await each(accounts.names() if not name else [name] if name in accounts else [], add)
        for parts in (await self.questions.ask({"op": "sublists", "account": name})).values():
            await each(parts, lambda part: add_sublists(sums, json.loads(part)))
        return sums

    @property
    def system_account(self) -> str:
        """The system account's name; empty if there is none."""
        return system_account(self.options)

    def processes(self) -> list[Process]:
        """Every process, and how it is."""
        found = [Process("supervisor", -1, self.pid)]
        workers = self.questions.workers()
        for index in range(self._workers):
            serial = workers.get(index, 0)
            found.append(
                Process(
                    "worker",
                    index,
                    self._core.counters.worker_pid(index),
                    serial,
                    healthy=bool(serial) and self._page.accepting(index),
                    silence_ms=self._page.silence_ms(index) if serial else 0,
                    stats=self._core.counters.stats(index),
                    rates=self._worker_rates.get(index, {}),
                )
            )
        found.append(Process("gateway", self._index, os.getpid()))
        for process in found:
            known = self._usages.get(process.pid)
            if known is not None:
                process.usage, process.cpu = known[1], known[2]
            elif process.pid:
                process.usage = usage_of(process.pid)
        return found

    def sample(self) -> None:
        """Take a sample; called every ``SAMPLE_SECONDS`` where somebody may look at the history."""
        before = self.history[-1] if self.history else None
        sums = self.sums()
        now_ns, now = time.time_ns(), time.monotonic()
        rates = dict.fromkeys(RATES, 0.0)
        for index in range(self._workers):
            stats = self._core.counters.stats(index)
            when, last = self._previous.get(index, (now, stats))
            if now > when:
                own = {name: max(stats[name] - last[name], 0) / (now - when) for name in RATES}
                self._worker_rates[index] = own
                for name, value in own.items():
                    rates[name] += value
            self._previous[index] = now, stats
        if before is None:
            rates = dict.fromkeys(RATES, 0.0)
        self._sample_usage(now)
        cpu = sum(percent for _, _, percent in self._usages.values())
        self.history.append(Sample(now_ns, sums["connections"], sums["subscriptions"], cpu, rates))

    def _sample_usage(self, now: float) -> None:
        self._used_at = now
        fresh: dict[int, tuple[float, Usage, float]] = {}
        for process in self.processes():
            usage = usage_of(process.pid) if process.pid else None
            if usage is None:
                continue
            when, last, percent = self._usages.get(process.pid, (now, usage, 0.0))
            if now > when:
                percent = max(usage.cpu_seconds - last.cpu_seconds, 0.0) / (now - when) * 100.0
            fresh[process.pid] = now, usage, percent
        self._usages = fresh

    def memory(self) -> int:
        """Resident bytes of all processes."""
        self._ensure_usage()
        return sum(usage.resident for _, usage, _ in self._usages.values())

    def cpu(self) -> float:
        """Percent of one core, over the last second; if nobody looked at it then, since somebody did."""
        self._ensure_usage()
        return sum(percent for _, _, percent in self._usages.values())

    def _ensure_usage(self) -> None:
        now = time.monotonic()
        if now - self._used_at >= SAMPLE_SECONDS or len(self._usages) < self._workers + 2:
            self._sample_usage(now)

    def envelope(self) -> dict[str, Any]:
        """How most answers begin."""
        return {"server_id": self.server_id, "now": time_text(time.time_ns())}
