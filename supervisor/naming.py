"""The name under which the kernel, and whoever looks for processes by name, knows this one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

NAME_BYTES: Final = 15  # what the kernel keeps of a process's name


def set_process_name(program: str) -> None:
    """Be found under the program's name, as if that were a binary and not a script of an interpreter."""
    with contextlib.suppress(OSError):  # without /proc we are found by pid only
        Path("/proc/self/comm").write_bytes(process_name(program))


def process_name(program: str) -> bytes:
    """What the kernel keeps of the name."""
    return os.fsencode(program)[:NAME_BYTES]
