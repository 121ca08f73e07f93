"""Configuration text to options, as the server does it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from broker.options import Loaded, load, parse_command_line

LoadText = Callable[..., Loaded]


@pytest.fixture
def load_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadText:
    """``load_text(text, *flags)`` loads ``text`` as the file ``c.conf`` of an empty directory."""
    monkeypatch.chdir(tmp_path)

    def load_it(text: str | bytes, *flags: str) -> Loaded:
        Path("c.conf").write_bytes(text.encode() if isinstance(text, str) else text)
        return load(parse_command_line(["-c", "c.conf", *flags]))

    return load_it
