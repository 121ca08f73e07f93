"""Splits configuration text into tokens.

The language is nested: what may follow a value depends on where the value stands. There are four such places:
the top level, a brace around top-level items (``{ port: 4222 }``, called a block here), a map and an array.
Each place has a state for "an item may start here" and one for "a value has just ended". A value leaves its
place's second state on a stack and returns to it; that stack is the only nesting the lexer knows, so no input
can exhaust Python's own stack.

A bare key runs up to blank space, ``=`` or ``:``, and may hold braces: in ``cluster{ port: 1 }`` the key is
``cluster{``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from broker.options.cursor import END, Cursor, Kind, Token
from broker.options.scalars import scan_scalar

State: TypeAlias = Callable[[], None]

_UNICODE_BLANKS: Final = "\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SPACE: Final = f"\\t\\n\\v\\f\\r {_UNICODE_BLANKS}"
_SPACES: Final = re.compile(f"[{_SPACE}]*")
_KEY: Final = re.compile(f"[^{_SPACE}=:\\0]*")
_BLANKS: Final = re.compile(r"[ \t]*")
_COMMENT: Final = re.compile(r"[^\r\n\0]*")
_SINGLE_QUOTED: Final = re.compile(r"[^'\0]*")
_DOUBLE_QUOTED: Final = re.compile(r'[^"\0]*')
_INCLUDE_PATH: Final = re.compile(r"[^'\r\n\0;} \t]*")

_BUT: Final = "but got '{}' instead."
_LINE_ENDS: Final = f"a new line, comment or EOF, {_BUT}"
_NO_PATHS: Final = {
    "[": "start of an array",
    "{": "start of a map",
    "(": "start of a block",
    "-": "start of a number",
    "\\": "escape sequence",
    "\n": "new line",
    "\r": "new line",
}
_QUOTES: Final = {'"': "double quoted", "'": "quoted"}


class Lexer:
    """Yields the tokens of one text, one ``next_token()`` at a time, and ends with ``END`` or ``ERROR``."""

    def __init__(self, text: str) -> None:
        self._cursor = Cursor(text)
        self._returns: list[State] = []  # what follows the value or comment being read
        self._state: State = self._top_item

    def next_token(self) -> Token:
        """The next token. Asking again after ``END`` or ``ERROR`` gives the same token again."""
        cursor = self._cursor
        while cursor.token is None:
            self._state()
        token = cursor.token
        if token.kind is not Kind.END and token.kind is not Kind.ERROR:
            cursor.token = None
        return token

    def _take_comment_start(self, first: str) -> bool:
        """Whether ``first``, just taken, begins a comment; takes the second slash if so."""
        cursor = self._cursor
        if first == "/" and cursor.peek() == "/":
            cursor.take()
            return True
        return first == "#"

    def _return(self) -> None:
        self._state = self._returns.pop()

    def _comment(self, then: State) -> None:
        self._cursor.skip(_COMMENT)
        self._state = then

    # -- the top level -----------------------------------------------------------------------------------

    def _top_item(self) -> None:
        cursor = self._cursor
        cursor.skip(_SPACES)
        cursor.begin()
        char = cursor.peek()
        if char == "{":
            cursor.take()
            self._returns.append(self._top_item)
            self._state = self._block_item
        elif char in "#/\0":
            cursor.take()
            if self._take_comment_start(char):
                self._comment(self._top_item)
            else:
                cursor.end()
        else:
            self._returns.append(self._after_top_value)
            self._key()

    def _after_top_value(self) -> None:
        cursor = self._cursor
        while True:
            char = cursor.take()
            if self._take_comment_start(char):
                return self._comment(self._top_item)
            if char in "\r\n\0;,}":
                self._state = self._top_item
                return None
            if char not in " \t/":
                return cursor.fail_char(f"Expected a top-level value to end with {_LINE_ENDS}", char)

    # -- braces around top-level items -------------------------------------------------------------------

    def _block_item(self) -> None:
        cursor = self._cursor
        cursor.skip(_SPACES)
        cursor.begin()
        char = cursor.peek()
        if char == "{":
            cursor.take()
            self._returns.append(self._block_end)
        elif char == "}":
            cursor.take()
            self._return()
        elif char in "#/\0":
            cursor.take()
            if self._take_comment_start(char):
                self._comment(self._block_item)
            else:
                cursor.end()
        else:
            self._returns.append(self._after_block_value)
            self._key()

    def _after_block_value(self) -> None:
        cursor = self._cursor
        while True:
            char = cursor.take()
            if self._take_comment_start(char):
                cursor.skip(_COMMENT)
            elif char in "\r\n;,":
                self._state = self._block_item
                return None
            elif char == "}":
                cursor.position -= 1
                self._state = self._block_end
                return None
            elif char not in " \t/":
                return cursor.fail_char(f"Expected a block-level value to end with {_LINE_ENDS}", char)

    def _block_end(self) -> None:
        cursor = self._cursor
        while True:
            char = cursor.take()
            if self._take_comment_start(char):
                return self._comment(self._block_item)
            if char in ";,":
                self._state = self._block_item
                return None
            if char == "}":
                return self._return()
            if char not in "\r\n \t/":
                return cursor.fail_char(f"Expected a block-level to end with a '}}', {_BUT}", char)

    # -- keys of the top level and of blocks -------------------------------------------------------------

    def _key(self) -> None:
        cursor = self._cursor
        char = cursor.peek()
        if char in "=:":
            return cursor.fail_char("Unexpected key separator '{}'", char)
        if char in "\"'":
            cursor.take()
            cursor.begin()
            cursor.skip(_DOUBLE_QUOTED if char == '"' else _SINGLE_QUOTED)
            if cursor.peek() != char:
                return cursor.end()
            cursor.emit_read(Kind.KEY)
            cursor.take()
        else:
            cursor.take()
            cursor.skip(_KEY)
            if self._is_include():
                return self._include()
            cursor.emit_read(Kind.KEY)
        self._state = self._after_key

    def _after_key(self) -> None:
        cursor = self._cursor
        cursor.skip(_SPACES)
        cursor.begin()
        char = cursor.peek()
        if char in "=:":
            cursor.take()
        elif char == END:
            cursor.take()
            return cursor.emit_read(Kind.END)
        self._state = self._value

    def _is_include(self) -> bool:
        """Whether the bare key just read is the keyword: it must be followed by blank space."""
        cursor = self._cursor
        return cursor.read().lower() == "include" and _SPACES.fullmatch(cursor.peek()) is not None

    def _include(self) -> None:
        cursor = self._cursor
        cursor.skip(_BLANKS)
        cursor.begin()
        char = cursor.peek()
        refused = "start of a number" if char.isdecimal() else _NO_PATHS.get(char)
        if refused:
            cursor.take()
            return cursor.fail(f"Expected include value but found {refused}")
        closing = char if char in "\"'" else "'"
        if closing == char:
            cursor.take()
            cursor.begin()
            cursor.skip(_DOUBLE_QUOTED if char == '"' else _SINGLE_QUOTED)
            if cursor.peek() != closing:
                cursor.take()
                return cursor.fail(f"Unexpected EOF in {_QUOTES[char]} include")
        else:
            cursor.skip(_INCLUDE_PATH)
        cursor.emit_read(Kind.INCLUDE)
        if cursor.peek() == closing:
            cursor.take()
        return self._return()

    # -- maps --------------------------------------------------------------------------------------------

    def _map_item(self) -> None:
        cursor = self._cursor
        cursor.skip(_SPACES)
        char = cursor.peek()
        if char in "=:":
            return cursor.fail_char("Unexpected key separator '{}'.", char)
        if char == "]":
            return cursor.fail_char("Unexpected array end '{}' processing map.", char)
        if char == END:
            return cursor.fail("Unexpected EOF processing map.")
        if char == "}":
            cursor.take()
            return self._map_end()
        if char in "\"'":
            return self._quoted_map_key(char)
        if char in "#/":
            cursor.take()
            if self._take_comment_start(char):
                return self._comment(self._map_item)
        # A lone slash is dropped, and the character behind it belongs to the key whatever it is.
        cursor.begin()
        cursor.take()
        cursor.skip(_KEY)
        if cursor.peek() == END:
            return cursor.fail("Unexpected EOF processing map key.")
        if self._is_include():
            self._returns.append(self._after_map_value)
            return self._include()
        cursor.emit_read(Kind.KEY)
        self._state = self._after_map_key
        return None

    def _quoted_map_key(self, mark: str) -> None:
        cursor = self._cursor
        cursor.take()
        cursor.begin()
        cursor.skip(_DOUBLE_QUOTED if mark == '"' else _SINGLE_QUOTED)
        if cursor.peek() != mark:
            return cursor.fail(f"Unexpected EOF processing {_QUOTES[mark]} map key.")
        cursor.emit_read(Kind.KEY)
        cursor.take()
        self._state = self._after_map_key
        return None

    def _after_map_key(self) -> None:
        cursor = self._cursor
        cursor.skip(_SPACES)
        if cursor.peek() in "=:":
            cursor.take()
        cursor.skip(_SPACES)
        cursor.begin()
        char = cursor.peek()
        if char == ",":
            cursor.take()
            return cursor.fail('Unexpected map value terminator ",".')
        if char == "}":
            cursor.take()
            return self._map_end()
        self._returns.append(self._after_map_value)
        self._state = self._value
        return None

    def _after_map_value(self) -> None:
        cursor = self._cursor
        while True:
            cursor.skip(_BLANKS)
            char = cursor.take()
            if self._take_comment_start(char):
                cursor.skip(_COMMENT)
            elif char in "/;,\r\n":
                self._state = self._map_item
                return None
            elif char == "}":
                return self._map_end()
            else:
                return cursor.fail_char(
                    f'Expected a map value terminator "," or a map terminator "}}", {_BUT}', char
                )

    def _map_end(self) -> None:
        cursor = self._cursor
        cursor.begin()
        cursor.emit_read(Kind.MAP_END)
        self._return()

    # -- arrays ------------------------------------------------------------------------------------------

    def _array_item(self) -> None:
        cursor = self._cursor
        cursor.skip(_SPACES)
        cursor.begin()
        char = cursor.peek()
        if char == "]":
            cursor.take()
            return self._array_end()
        if char in "#/,":
            cursor.take()
            if self._take_comment_start(char):
                return self._comment(self._array_item)
            return cursor.fail("Unexpected array value terminator ','.")
        self._returns.append(self._after_array_value)
        self._state = self._value
        return None

    def _after_array_value(self) -> None:
        cursor = self._cursor
        while True:
            cursor.skip(_BLANKS)
            char = cursor.take()
            if self._take_comment_start(char):
                cursor.skip(_COMMENT)
            elif char in "/,\r\n":
                self._state = self._array_item
                return None
            elif char == "]":
                return self._array_end()
            else:
                return cursor.fail_char(
                    f'Expected an array value terminator "," or an array terminator "]", {_BUT}', char
                )

    def _array_end(self) -> None:
        cursor = self._cursor
        cursor.begin()
        cursor.emit_read(Kind.ARRAY_END)
        self._return()

    # -- values ------------------------------------------------------------------------------------------

    def _value(self) -> None:
        cursor = self._cursor
        cursor.skip(_BLANKS)
        cursor.begin()
        char = cursor.peek()
        if char == "[":
            cursor.take()
            cursor.begin()
            cursor.emit_read(Kind.ARRAY_START)
            self._state = self._array_item
        elif char == "{":
            cursor.take()
            cursor.begin()
            cursor.emit_read(Kind.MAP_START)
            self._state = self._map_item
        else:
            scan_scalar(cursor)
            self._return()
