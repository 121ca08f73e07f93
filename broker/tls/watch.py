"""Keep an eye on a listener's certificates: read them again when the files change, warn before they expire."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from broker.log import Log
from broker.tls.context import TlsContext, TlsError

LOOK_SECONDS: Final = 2.0
WARN_DAYS: Final = 30
_DAY: Final = 86400.0


class Watch:
    """Looks at the files of ``context`` from now on. All processes do; the one that is to ``announce`` tells the log."""

    __slots__ = ("_announce", "_complaint", "_context", "_log", "_loop", "_timer", "_warned")

    def __init__(self, context: TlsContext, log: Log, announce: bool) -> None:
        self._context = context
        self._log = log
        self._announce = announce
        self._complaint = ""
        self._warned = 0.0  # when we last warned
        self._loop = asyncio.get_running_loop()
        self._warn()
        self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def close(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def reload(self) -> None:
        """Read the files again, for connections to come. Trouble is logged, once, and what was read before stays."""
        try:
            self._context.reload()
        except TlsError as error:
            if self._announce and str(error) != self._complaint:
                self._log.error(f"TLS certificates not reloaded: {error}")
            self._complaint = str(error)
            return
        self._complaint = ""
        self._warned = 0.0
        if self._announce:
            self._log.info("Reloaded: tls certificates")
        self._warn()

    def _look(self) -> None:
        if self._context.changed():
            self.reload()
        if time.time() - self._warned > _DAY:
            self._warn()
        self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def _warn(self) -> None:
        self._warned = time.time()
        text = expiry_warning(self._context.expires, self._warned)
        if text and self._announce:
            self._log.warn(text)


def expiry_warning(expires: int, now: float) -> str:
    """What the log says about a certificate that ends at ``expires``; empty: nothing yet."""
    days = (expires - now) / _DAY
    if days >= WARN_DAYS:
        return ""
    date = time.strftime("%Y-%m-%d", time.gmtime(expires))
    return (
        f"TLS certificate expired on {date}"
        if days < 0
        else f"TLS certificate expires in {int(days)} days, on {date}"
    )
