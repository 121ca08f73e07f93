"""Why a server does not start, as a value that can be raised."""

from __future__ import annotations

import os


class StartError(Exception):
    """The server cannot start. Its text is the whole text of the FTL line."""


def system_text(error: OSError) -> str:
    """What the operating system says, worded as Go (and so nats-server's log) words it: without a capital."""
    text = os.strerror(error.errno) if error.errno else str(error)
    return text[:1].lower() + text[1:]
