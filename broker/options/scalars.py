"""Reads the values that are no containers: strings in their five forms, booleans, numbers, dates, variables.

Each function reads on from the cursor and leaves one token there. What a value is shows only while it is
read: ``4222`` is a number, ``4222x`` a string, ``127.0.0.1`` begins like a number, ``1.5`` like an address.
Where something that began as a number goes on as something else, the rest is read as a bare string, and the
character that showed it belongs to the string whatever it is: even a bracket, and so ``[1]`` is an array that
never ends.
"""

from __future__ import annotations

import re
from typing import Final

from broker.options.cursor import END, Cursor, Kind
from broker.options.gotext import from_bytes, raw_bytes

_SINGLE_QUOTED: Final = re.compile(r"[^'\0]*")
_DOUBLE_QUOTED_PART: Final = re.compile(r'[^"\\\0]*')
_BARE_PART: Final = re.compile(r"[^\\'\r\n\0;,\]} \t]*")
_BLOCK_END: Final = re.compile(r"\n\)(?=\n|\0|\Z)")
_DIGITS: Final = re.compile(r"\d+")
_SIZE_REST: Final = re.compile(r"[bBiI]*")
_ADDRESS_REST: Final = re.compile(r"[\d.:-]*")

_NUMBER_ENDS: Final = frozenset("\r\n\0};, \t")
_SIZE_STARTS: Final = frozenset("kKmMgGtTpPeE")
_BOOLS: Final = frozenset(("true", "false", "on", "off", "yes", "no"))
_ESCAPES: Final = {"t": "\t", "n": "\n", "r": "\r", '"': '"', "\\": "\\"}
_DATE_AFTER_YEAR: Final = "00-00T00:00:00Z"  # 0 stands for any digit


def scan_scalar(cursor: Cursor) -> None:
    """Read one value. Its first character, which is no bracket or brace, is still to be read."""
    char = cursor.peek()
    if char in "\"'(":
        cursor.take()
        cursor.begin()
        if char == '"':
            _double_quoted(cursor)
        elif char == "'":
            _single_quoted(cursor)
        else:
            _block_string(cursor)
    elif char == "-":
        cursor.take()
        _negative_number(cursor)
    elif char.isdecimal():
        _number(cursor)
    elif char == ".":
        cursor.take()
        cursor.fail("Floats must start with a digit")
    elif char in "\r\n":
        cursor.take()
        cursor.fail("Expected value but found new line")
    else:
        _bare_string(cursor)


def _single_quoted(cursor: Cursor) -> None:
    cursor.skip(_SINGLE_QUOTED)
    if cursor.peek() == "'":
        cursor.emit_read(Kind.STRING)
        cursor.take()
    else:
        cursor.take()
        cursor.end()


def _double_quoted(cursor: Cursor) -> None:
    parts: list[str] = []
    while True:
        begin = cursor.position
        cursor.skip(_DOUBLE_QUOTED_PART)
        part = cursor.text[begin : cursor.position]
        char = cursor.peek()
        if char == '"':
            _emit_string(cursor, parts, part)
            cursor.take()
            return
        cursor.take()
        if char == "\\":
            escape = _escape(cursor)
            if escape is None:
                return
            parts += (part, escape)
        elif cursor.position > begin:
            return cursor.fail("Unexpected EOF.")
        else:  # nothing but escapes, if anything, since the opening quote
            return cursor.emit(Kind.END, "".join(parts))


def _bare_string(cursor: Cursor) -> None:
    """A string without quotes. A part of it, whatever that holds, may have been read already."""
    parts: list[str] = []
    while True:
        begin = cursor.position if parts else cursor.start
        cursor.skip(_BARE_PART)
        part = cursor.text[begin : cursor.position]
        char = cursor.peek()
        if char != "\\":
            break
        cursor.take()
        escape = _escape(cursor)
        if escape is None:
            return
        parts += (part, escape)
    if char == "'":  # ends a bare string, and belongs to it
        _emit_string(cursor, parts, part)
        cursor.take()
    elif parts:
        _emit_string(cursor, parts, part)
    elif part.lower() in _BOOLS:
        cursor.emit(Kind.BOOL, part)
    elif part.startswith("$"):
        cursor.emit(Kind.VARIABLE, part[1:])
    else:
        cursor.emit(Kind.STRING, part)


def _emit_string(cursor: Cursor, parts: list[str], last: str) -> None:
    """A string in which escapes may have spelt out the bytes of one character one by one."""
    cursor.emit(Kind.STRING, from_bytes(raw_bytes("".join(parts) + last)) if parts else last)


def _escape(cursor: Cursor) -> str | None:
    """The meaning of the escape whose backslash has been read; None after reporting an error."""
    char = cursor.take()
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char != "x":
        cursor.fail_char(
            "Invalid escape character '{}'. Only the following escape characters are allowed: "
            '\\xXX, \\t, \\n, \\r, \\", \\\\.',
            char,
        )
        return None
    for _ in range(2):
        if cursor.take() in "\r\n":
            cursor.fail("Expected two hexadecimal digits after '\\x', but hit end of line")
            return None
    digits = raw_bytes(cursor.text[cursor.position - 2 : cursor.position])[-2:]
    try:
        return from_bytes(bytes.fromhex(digits.decode("ascii")))
    except ValueError:
        cursor.fail(f"Expected two hexadecimal digits after '\\x', but got '{from_bytes(digits)}'")
        return None


def _block_string(cursor: Cursor) -> None:
    """Text up to a closing parenthesis alone on its line."""
    closing = _BLOCK_END.search(cursor.text, cursor.position)
    stop = cursor.text.find(END, cursor.position)
    if closing is None or 0 <= stop < closing.start():
        cursor.position = len(cursor.text) if stop < 0 else stop + 1
        return cursor.fail("Unexpected EOF processing block.")
    # At the very end of the text the parenthesis becomes part of the string, as it does in nats-server.
    at_end = closing.end() == len(cursor.text)
    cursor.position = closing.end() - (0 if at_end else 1)
    cursor.emit_read(Kind.STRING)
    cursor.take()
    return None


def _number(cursor: Cursor) -> None:
    cursor.skip(_DIGITS)
    char = cursor.peek()
    if char in _NUMBER_ENDS:
        return cursor.emit_read(Kind.INTEGER)
    cursor.take()
    if char == "-":
        return _date_after_year(cursor)
    if char == ".":
        return _float(cursor)
    if char in _SIZE_STARTS:
        return _size(cursor)
    return _bare_string(cursor)


def _negative_number(cursor: Cursor) -> None:
    char = cursor.take()
    if char == ".":
        return cursor.fail("Floats must start with a digit, not '.'.")
    if not char.isdecimal():
        return cursor.fail_char("Expected a digit but got '{}'.", char)
    cursor.skip(_DIGITS)
    char = cursor.peek()
    if char == ".":
        cursor.take()
        return _float(cursor)
    if char in _SIZE_STARTS:
        cursor.take()
        return _size(cursor)
    return cursor.emit_read(Kind.INTEGER)


def _size(cursor: Cursor) -> None:
    """An integer whose suffix has been begun: ``1k``, ``2MiB``."""
    cursor.skip(_SIZE_REST)
    char = cursor.peek()
    if char in _NUMBER_ENDS or char.isdecimal():
        return cursor.emit_read(Kind.INTEGER)
    return _bare_string(cursor)


def _float(cursor: Cursor) -> None:
    """A float whose point has been read; with a second point, an address."""
    char = cursor.take()
    if not char.isdecimal():
        return cursor.fail_char("Floats must have a digit after the '.', but got '{}' instead.", char)
    cursor.skip(_DIGITS)
    if cursor.peek() != ".":
        return cursor.emit_read(Kind.FLOAT)
    cursor.skip(_ADDRESS_REST)
    return cursor.emit_read(Kind.STRING)


def _date_after_year(cursor: Cursor) -> None:
    if cursor.byte_length(cursor.start, cursor.position) != len("2020-"):
        return cursor.fail("All ISO8601 dates must be in full Zulu form.")
    for expected in _DATE_AFTER_YEAR:
        char = cursor.take()
        if expected == "0" and not char.isdecimal():
            return cursor.fail_char("Expected digit in ISO8601 datetime, but found '{}' instead.", char)
        if expected not in ("0", char):
            return cursor.fail_char(
                f"Expected '{expected}' in ISO8601 datetime, but found '{{}}' instead.", char
            )
    return cursor.emit_read(Kind.DATETIME)
