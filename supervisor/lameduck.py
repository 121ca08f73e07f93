"""Lame duck mode: send the clients away one by one, so that they do not all knock at the next server at once.

begin   the listeners close, clients are told (INFO with ldm); nobody is there: the end
grace   other servers that are to go, too, get the time to say so
close   every worker closes its clients at a pace such that all together take the time that is left
end     when the last is gone
"""

from __future__ import annotations

import time
from typing import Final

from broker.log import Log
from broker.options import Options
from supervisor.children import Child, Children
from supervisor.heartbeat import SharedPage

LONGEST_PAUSE: Final = 1.0  # seconds between two clients: a few must not wait for the whole duration


class LameDuck:
    """One server's way out. ``over`` says when it has come to its end."""

    def __init__(self, options: Options, children: Children, page: SharedPage, log: Log) -> None:
        """Begin it; the listeners are closed already."""
        self._children = children
        self._page = page
        self._log = log
        self._closing_time = max(options.lame_duck_duration - options.lame_duck_grace_period, LONGEST_PAUSE)
        self._close_at: float | None = time.monotonic() + options.lame_duck_grace_period
        self._busy: set[int] = set()  # serials of the children that have clients left
        children.hold = True  # who dies now is not replaced: nobody could come to it
        # The gateway first: it may have something to say to their clients.
        for child in sorted(children.all(), key=lambda child: not child.gateway):
            children.send(child, {"op": "lame_duck"})
        if not self.clients:
            self._close_at = None

    def _workers(self) -> list[Child]:
        return [child for child in self._children.all() if not child.gateway]

    @property
    def clients(self) -> int:
        """How many there are."""
        return sum(self._page.live(child.index) for child in self._workers())

    @property
    def over(self) -> bool:
        """No client is left, and none will come."""
        return self._close_at is None and not self._busy

    def gone(self, child: Child) -> None:
        """This child has closed all of its clients, or is dead."""
        self._busy.discard(child.serial)

    def tick(self) -> float:
        """Go on; returns in how many seconds to call again at the latest."""
        if self._close_at is None:
            return LONGEST_PAUSE
        left = self._close_at - time.monotonic()
        if left <= 0:
            self._close_at = None
            self._close()
        return max(left, 0.0)

    def _close(self) -> None:
        self._log.info("Closing existing clients")
        held = {child.serial: self._page.live(child.index) for child in self._workers()}
        total = sum(held.values())
        pause = min(self._closing_time / max(total, 1), LONGEST_PAUSE)
        self._busy = set(held)
        for child in self._workers():
            # Together one client a pause: a worker with a third of them closes one in three pauses.
            pace = pause * total / max(held[child.serial], 1)
            self._children.send(child, {"op": "close_clients", "pace": pace})
