"""The thin, typed face of the C data plane: the only room that imports the extension.

Everything here is one call into `csrc/spline.h`, where the contracts are.
"""

from broker.core.binding import ffi
from broker.core.core import (
    BOUND,
    CONNECTED,
    ECHO,
    HEADERS,
    LATE_PONG,
    NO_RESPONDERS,
    PEDANTIC,
    PLAIN_SIZE,
    PONGED,
    SNAPPY_DATA,
    VERBOSE,
    Applied,
    ConnInfo,
    Core,
    Event,
    EventType,
    Message,
    snappy_chunk,
)
from broker.core.counters import Counters

__all__ = [
    "BOUND",
    "CONNECTED",
    "ECHO",
    "HEADERS",
    "LATE_PONG",
    "NO_RESPONDERS",
    "PEDANTIC",
    "PLAIN_SIZE",
    "PONGED",
    "SNAPPY_DATA",
    "VERBOSE",
    "Applied",
    "ConnInfo",
    "Core",
    "Counters",
    "Event",
    "EventType",
    "Message",
    "ffi",
    "snappy_chunk",
]
