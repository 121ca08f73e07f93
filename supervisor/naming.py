"""What the kernel, and whoever looks at its list of processes, knows of this one: its name, and its arguments."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Final

NAME_BYTES: Final = 15  # what the kernel keeps of a process's name

_SECRET_FLAG: Final = re.compile(rb"--?(?:pass|auth)(=.*)?", re.DOTALL)
_CREDENTIALS: Final = re.compile(rb"(?<=://)[^/@\0]+(?=@)")  # of an address
_ARGUMENTS_START: Final = 48  # fields of /proc/self/stat, counted from 1
_ARGUMENTS_END: Final = 49


def set_process_name(program: str) -> None:
    """Be found under the program's name, as if that were a binary and not a script of an interpreter."""
    # Without /proc we are found by pid only.
    with contextlib.suppress(OSError), open("/proc/self/comm", "wb") as file:
        file.write(process_name(program))


def process_name(program: str) -> bytes:
    """What the kernel keeps of the name."""
    return os.fsencode(program)[:NAME_BYTES]


def hide_secret_arguments() -> None:
    """Overwrite passwords and tokens among this process's arguments, which everybody can read.

    Others of this machine see them until then, so that a file is the better place. Without /proc they stay.
    """
    with contextlib.suppress(OSError, IndexError, ValueError):
        with open("/proc/self/stat", "rb") as file:
            stat = file.read()
        numbers = stat[stat.rindex(b")") + 1 :].split()
        start, end = int(numbers[_ARGUMENTS_START - 3]), int(numbers[_ARGUMENTS_END - 3])
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            arguments = memory.read(end - start)
            masked = mask_arguments(arguments)
            if masked != arguments:
                memory.seek(start)
                memory.write(masked)


def mask_arguments(arguments: bytes) -> bytes:
    """The arguments of a process (each ends with a zero byte) with its secrets crossed out; none changes its length."""
    masked: list[bytes] = []
    hidden = False
    for argument in arguments.split(b"\0"):
        flag = _SECRET_FLAG.fullmatch(argument)
        if hidden:
            argument = b"x" * len(argument)
        elif flag is not None and flag[1]:
            argument = argument[: flag.start(1) + 1] + b"x" * (len(flag[1]) - 1)
        else:
            argument = _CREDENTIALS.sub(lambda found: b"x" * len(found[0]), argument)
        hidden = not hidden and flag is not None and not flag[1]
        masked.append(argument)
    return b"\0".join(masked)
