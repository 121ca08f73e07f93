"""What a process costs, as the kernel counts it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True, frozen=True)
class Usage:
    """Memory now, and processor time since the start."""

    resident: int  # bytes
    cpu_seconds: float


def usage_of(pid: int) -> Usage | None:
    """None: there is no such process any more."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            resident = int(file.read().split()[1]) * _PAGE
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except (OSError, IndexError):
        return None
    return Usage(resident, (int(fields[11]) + int(fields[12])) / _TICKS)
