"""The extension itself, and what its callers have in common. What cffi returns is untyped, so `Any` is confined to this room."""

from __future__ import annotations

import os
from typing import Any

from broker import _core  # type: ignore[attr-defined]  # made by csrc/build.py

ffi: Any = _core.ffi
lib: Any = _core.lib


def to_bytes(text: str) -> bytes:
    """As the data plane has it; also of a file's bytes that are no text."""
    return text.encode("utf-8", "surrogateescape")


def or_null(pointer: Any) -> Any:
    """A pointer, or NULL for None."""
    return ffi.NULL if pointer is None else pointer


def check(code: int) -> None:
    """Raise OSError for a negative error number."""
    if code < 0:
        raise OSError(-code, os.strerror(-code))
