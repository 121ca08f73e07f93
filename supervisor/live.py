"""What a running server's configuration is, for whoever may look into its process.

The server keeps the text of its effective configuration, secrets and all, in memory that only its own user and
root can open, by way of ``/proc``. So ``spline check --plan`` can compare a file with what runs, and not only with
what the running server's file says by now.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import Final

from broker.options import Options

_NAME: Final = "spline-options"


@dataclass(slots=True)
class LiveOptions:
    """The memory that holds the text."""

    descriptor: int

    def publish(self, options: Options) -> None:
        """From now on these are the options that run."""
        from broker.options.effective import effective_text

        text = effective_text(options, secrets=True).encode("utf-8", "surrogateescape")
        os.truncate(self.descriptor, 0)
        os.pwrite(self.descriptor, text, 0)

    def close(self) -> None:
        """Forget it."""
        os.close(self.descriptor)


def make_live_options(options: Options) -> LiveOptions:
    """The memory, with these options in it. OSError: out of descriptors or memory."""
    live = LiveOptions(os.memfd_create(_NAME, os.MFD_CLOEXEC))
    live.publish(options)
    return live


def live_options_file(pid: int) -> str:
    """The path of the text of what process ``pid`` runs; empty if it has none, or none that we may see."""
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            path = f"/proc/{pid}/fd/{number}"
            with contextlib.suppress(OSError):  # closed in the meantime
                if os.readlink(path).startswith(f"/memfd:{_NAME}"):
                    return path
    return ""
