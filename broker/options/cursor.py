"""A place in configuration text: reads forward, and makes tokens of what has been read.

Columns count bytes from the newline before the token: 0-based on the first line, 1-based on later ones. The
end of the text reads as a zero byte, and so a zero byte in the text is taken for its end in most places;
nats-server does the same.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from enum import Enum, auto
from itertools import accumulate
from typing import Final, NamedTuple

from broker.options.gotext import raw_bytes

END: Final = "\0"  # what is "read" behind the last character


class Kind(Enum):
    """What a token is."""

    ERROR = auto()  # text is the message; always the last token
    END = auto()  # always the last token
    KEY = auto()
    STRING = auto()
    BOOL = auto()
    INTEGER = auto()
    FLOAT = auto()
    DATETIME = auto()
    ARRAY_START = auto()
    ARRAY_END = auto()
    MAP_START = auto()
    MAP_END = auto()
    VARIABLE = auto()
    INCLUDE = auto()


class Token(NamedTuple):
    """One lexical element; ``line`` and ``column`` are those that error messages show."""

    kind: Kind
    text: str
    line: int
    column: int


class Cursor:
    """Where a lexer is. ``token`` is the token just made; the one who takes it sets it back to None."""

    __slots__ = ("_byte_offsets", "_newlines", "position", "start", "text", "token")

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self.position = 0
        self.start = 0  # where the token being read began
        self.token: Token | None = None
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self._byte_offsets: list[int] | None = None  # by character offset; None if they are the same
        if not text.isascii():
            self._byte_offsets = list(accumulate(map(_byte_width, text), initial=0))

    def peek(self) -> str:
        """The next character, which stays to be read."""
        return self.text[self.position] if self.position < len(self.text) else END

    def take(self) -> str:
        """Read one character. At the end of the text the position stays."""
        if self.position >= len(self.text):
            return END
        char = self.text[self.position]
        self.position += 1
        return char

    def skip(self, pattern: re.Pattern[str]) -> None:
        """Read as far as ``pattern`` matches, if it does."""
        match = pattern.match(self.text, self.position)
        if match is not None:
            self.position = match.end()

    def begin(self) -> None:
        """A token starts here."""
        self.start = self.position

    def read(self) -> str:
        """What has been read of the present token."""
        return self.text[self.start : self.position]

    def byte_length(self, start: int, end: int) -> int:
        """The bytes between two character offsets."""
        offsets = self._byte_offsets
        return end - start if offsets is None else offsets[end] - offsets[start]

    def emit(self, kind: Kind, text: str) -> None:
        """Make a token of what has been read, with a text of its own; the next one begins here."""
        newline = bisect_left(self._newlines, self.start)
        line_start = self._newlines[newline - 1] if newline else 0
        size = len(text) if text.isascii() else len(raw_bytes(text))
        column = self.byte_length(line_start, self.position) - size
        self.token = Token(kind, text, self._line(), column)
        self.start = self.position

    def emit_read(self, kind: Kind) -> None:
        """Make a token of what has been read, as it stands."""
        self.emit(kind, self.read())

    def fail(self, message: str) -> None:
        """Make the last token: an error at the character that was read last."""
        line = self._line()
        line_start = self._newlines[line - 2] if line > 1 else 0
        column = max(0, self.byte_length(line_start, self.position) - 1)
        self.token = Token(Kind.ERROR, message, line, column)

    def fail_char(self, message: str, char: str) -> None:
        """An error whose ``message`` shows the offending character in place of ``{}``."""
        shown = "\\n" if char == "\n" else "\ufffd" if "\udc80" <= char <= "\udcff" else char
        self.fail(message.replace("{}", shown))

    def end(self) -> None:
        """Make the last token where the text may end: an error, though, if a token has been begun."""
        if self.position > self.start:
            self.fail("Unexpected EOF.")
        else:
            self.emit_read(Kind.END)

    def _line(self) -> int:
        return 1 + bisect_left(self._newlines, self.position)


def _byte_width(char: str) -> int:
    if char < "\x80" or "\udc80" <= char <= "\udcff":
        return 1
    if char < "\u0800":
        return 2
    return 3 if char < "\U00010000" else 4
