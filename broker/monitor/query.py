"""The parameters of a request, read as nats-server reads them, with its texts for what is wrong."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_plus

from broker.options.gotext import GoError, parse_int, quote

_TRUE: Final = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE: Final = frozenset(("", "0", "f", "F", "false", "FALSE", "False"))
_BAD_ESCAPE: Final = re.compile("%(?![0-9a-fA-F]{2})")
_UNSIGNED: Final = re.compile("[0-9]+", re.ASCII)


class QueryError(Exception):
    """What is asked for cannot be served. Its text is the whole body of the answer over HTTP, whose status is 400."""


class Query:
    """The parameters after the question mark. The first one of a name counts, as for nats-server."""

    __slots__ = ("_values",)

    def __init__(self, text: str) -> None:
        self._values: dict[str, str] = {}
        for pair in text.split("&"):
            if ";" in pair or _BAD_ESCAPE.search(pair):
                continue
            key, _, value = pair.partition("=")
            self._values.setdefault(_plain(key), _plain(value))

    def text(self, name: str) -> str:
        """A text; empty if there is none."""
        return self._values.get(name, "")

    def flag(self, name: str) -> bool:
        """Raises QueryError."""
        value = self.text(name)
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
        raise QueryError(
            f"Error decoding boolean for '{name}': strconv.ParseBool: parsing {quote(value)}: invalid syntax"
        )

    def number(self, name: str) -> int:
        """An int64, 0 if there is none. Raises QueryError."""
        value = self.text(name)
        if not value:
            return 0
        try:
            return parse_int(value)
        except GoError as error:
            raise QueryError(f"Error decoding int for '{name}': {error}") from error

    def unsigned(self, name: str) -> int:
        """A uint64, 0 if there is none. Raises QueryError."""
        value = self.text(name)
        if not value:
            return 0
        digits = value.lstrip("0")
        known = _UNSIGNED.fullmatch(value) is not None
        if known and len(digits) <= 20 and int(digits or "0") < 1 << 64:
            return int(digits or "0")
        reason = "value out of range" if known else "invalid syntax"
        raise QueryError(
            f"Error decoding uint64 for '{name}': strconv.ParseUint: parsing {quote(value)}: {reason}"
        )

    def subs(self) -> tuple[bool, bool]:
        """The parameter ``subs``: (a list, a list with details). Raises QueryError."""
        if self.text("subs").lower() == "detail":
            return False, True
        return self.flag("subs"), False


def _plain(text: str) -> str:
    return unquote_plus(text, errors="surrogateescape")
