"""When a child is late, hung or dying too often: the numbers, and what follows from them. No I/O."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True, frozen=True)
class Policy:
    """Times are seconds."""

    tick: float = 0.5  # how often heartbeats are looked at
    beat_timeout: float = 3.0  # a heartbeat older than this: the child hangs
    boot_timeout: float = 20.0  # so does one that is not ready this long after its start
    abort_grace: float = 0.3  # from SIGABRT (the child prints where it hangs) to SIGKILL
    lost_grace: float = 1.0  # from the end of a child's control channel to its own end
    farewell: float = 1.0  # from the order to stop the server until its clients are closed, at most
    term_after: float = 1.0  # from the order to stop to SIGTERM ...
    kill_after: float = 2.0  # ... and to SIGKILL
    first_delay: float = 0.1  # the second restart waits for this, each further one twice as long
    max_delay: float = 10.0
    window: float = 60.0  # deaths longer ago are forgotten
    max_deaths: int = 10  # a worker that dies more often than this within the window ends the server
    reload_patience: float = (
        10.0  # a child that does not answer to a new configuration in this time refuses it
    )
    max_boot_deaths: int = 3  # so do more deaths of all workers than this before the server was ever ready


@dataclass(slots=True)
class Deaths:
    """The recent deaths of one worker."""

    policy: Policy
    times: deque[float] = field(default_factory=deque)

    def add(self, now: float) -> float | None:
        """Note one more death; returns for how long to wait before the next start, None = it is a crash loop.

        The first restart is immediate: nearly always the next life is a long one, and clients are waiting.
        """
        self.times.append(now)
        while self.times[0] <= now - self.policy.window:
            self.times.popleft()
        count = len(self.times)
        if count > self.policy.max_deaths:
            return None
        if count == 1:
            return 0.0
        return min(self.policy.first_delay * 2.0 ** (count - 2), self.policy.max_delay)
