"""Who we are, and which server clients should take us for.

Client libraries switch features on and off by the ``version`` of INFO, so it names the nats-server release
that our client protocol is. Our own version is for people: the command line, the log and monitoring.
"""

from __future__ import annotations

import sys
from typing import Final

VERSION: Final = "0.1.0"
NATS_VERSION: Final = "2.14.0"
PROTO: Final = 1  # the server accepts CONNECT's "echo" and clients may be sent INFO at any time
API_LEVEL: Final = 4  # what nats-server announces at NATS_VERSION, with or without JetStream
RUNTIME: Final = "python{}.{}.{}".format(*sys.version_info[:3])  # INFO's "go": opaque to clients
