"""Builds a tree of values, each with its position, from configuration text, its includes and the environment.

A value in a map carries the position of its key, a value in an array its own. Keys wait on one stack for
their values, whatever the nesting, as they do in nats-server: a map that ends before its last key got a value
is itself stored under that key. Operators see the consequences in error positions.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final, TypeAlias

from broker.options.cursor import Kind, Token
from broker.options.gotext import INT64_MAX, INT64_MIN, from_bytes, wrap_int
from broker.options.lexer import Lexer

MAX_NESTING: Final = 200  # maps and arrays in each other; deeper is a mistake, and Python's stack is finite
MAX_REFERENCES: Final = 50  # includes in each other, and environment variables that refer to each other

_BCRYPT_PREFIX: Final = "2a$"  # of a variable's name: such a "variable" is an unquoted bcrypt hash
_ENVIRONMENT_KEY: Final = "pk"

_SIZES: Final = {
    "": 1,
    **{name: 1000**power for power, name in enumerate("kmgtpe", 1)},
    **{name + end: 1024**power for power, name in enumerate("kmgtpe", 1) for end in ("b", "i", "ib")},
}


class ConfigError(Exception):
    """The text is not a configuration; ``str()`` is the message for the operator. No other error leaves this
    module. ``place``, if known, says where it is wrong; its value means nothing.
    """

    def __init__(self, message: str, place: Node | None = None) -> None:
        super().__init__(message)
        self.place = place


@dataclass(slots=True, frozen=True)
class DateTime:
    """A moment as written, ``YYYY-MM-DDThh:mm:ssZ``, checked. No option takes one; it exists to be refused by
    type.
    """

    text: str


@dataclass(slots=True)
class Node:
    """One value and where it stands: file as given, line from 1, column in bytes."""

    value: Value
    line: int
    column: int
    file: str
    used: bool = False  # some variable refers to it

    def source(self) -> str:
        """The position as error messages show it."""
        return f"{self.file}:{self.line}:{self.column}"


Value: TypeAlias = str | bool | int | float | DateTime | dict[str, Node] | list[Node]


def parse_file(path: str) -> dict[str, Node]:
    """The values of the file at ``path``. Raises ``ConfigError``."""
    return _parse_file(path, frozenset())


def parse_text(text: str, path: str = "") -> dict[str, Node]:
    """The values of ``text``, taken for the content of the file at ``path``. Raises ``ConfigError``."""
    return _Parser(text, path, frozenset(), set(), None).parse()


def _parse_file(path: str, including: frozenset[str]) -> dict[str, Node]:
    identity = os.path.realpath(path) if "\0" not in path else path
    if identity in including:
        raise ConfigError(f"include cycle: {path} is being read already")
    if len(including) >= MAX_REFERENCES:
        raise ConfigError(f"more than {MAX_REFERENCES} files include each other")
    return _Parser(_read(path), path, including | {identity}, set(), None).parse()


def _read(path: str) -> str:
    """The text of a file; bytes that are not UTF-8 become surrogate escapes."""
    if "\0" in path:
        raise ConfigError(f"open {path}: invalid argument")
    try:
        with open(path, "rb") as file:
            return from_bytes(file.read())
    except IsADirectoryError:
        raise ConfigError(f"read {path}: is a directory") from None
    except OSError as error:
        reason = error.strerror or "input/output error"
        raise ConfigError(f"open {path}: {reason[:1].lower()}{reason[1:]}") from None


def _join(directory: str, path: str) -> str:
    """``directory/path`` without ``.`` and ``..`` steps. An absolute ``path`` is taken as relative, too."""
    joined = os.path.normpath(f"{directory or '.'}/{path}")
    return joined[1:] if joined.startswith("//") else joined


class _Parser:
    """One run over one text. ``origin``, if any, is the position that every value gets."""

    def __init__(
        self, text: str, path: str, including: frozenset[str], environment: set[str], origin: Node | None
    ) -> None:
        self._lexer = Lexer(text)
        self._path = path
        self._including = including
        self._environment = environment  # variables of the environment that are being resolved
        self._origin = origin
        self._root: dict[str, Node] = {}
        self._open: list[dict[str, Node] | list[Node]] = [self._root]
        self._keys: list[Token] = []

    def parse(self) -> dict[str, Node]:
        previous: Token | None = None
        while True:
            token = self._lexer.next_token()
            if token.kind is Kind.END:
                # A last lone brace is read as a key, and tolerated.
                if previous is not None and previous.kind is Kind.KEY and previous.text != "}":
                    place = Node("", token.line, token.column, self._path)
                    raise ConfigError(f"config is invalid ({place.source()})", place)
                return self._root
            try:
                self._process(token)
            except ConfigError as error:
                error.place = error.place or Node("", token.line, token.column, self._path)
                raise
            previous = token

    def _process(self, token: Token) -> None:
        match token.kind:
            case Kind.ERROR:
                raise ConfigError(f"Parse error on line {token.line}: '{token.text}'")
            case Kind.KEY:
                self._keys.append(token)
            case Kind.MAP_START:
                self._enter({}, token)
            case Kind.ARRAY_START:
                self._enter([], token)
            case Kind.MAP_END | Kind.ARRAY_END:
                self._store(token, self._open.pop())
            case Kind.STRING:
                self._store(token, token.text)
            case Kind.BOOL:
                self._store(token, token.text.lower() in ("true", "yes", "on"))
            case Kind.INTEGER:
                number = _integer(token.text)
                if number is not None:
                    self._store(token, number)
            case Kind.FLOAT:
                self._store(token, _float(token.text))
            case Kind.DATETIME:
                self._store(token, _datetime(token.text))
            case Kind.VARIABLE:
                self._store(token, self._variable(token))
            case Kind.INCLUDE:
                self._include(token)

    def _enter(self, container: dict[str, Node] | list[Node], token: Token) -> None:
        if len(self._open) > MAX_NESTING:
            raise ConfigError(f"Parse error on line {token.line}: 'More than {MAX_NESTING} nested values.'")
        self._open.append(container)

    def _store(self, token: Token, value: Value) -> None:
        """Put a value where it belongs: into the innermost array, or under the key that waits for it."""
        target = self._open[-1]
        if isinstance(target, list):
            target.append(self._node(token, value))
        else:
            key = self._keys.pop()
            target[key.text] = self._node(key, value)

    def _node(self, token: Token, value: Value) -> Node:
        if self._origin is not None:
            return Node(value, self._origin.line, self._origin.column, self._origin.file)
        return Node(value, token.line, token.column, self._path)

    def _include(self, token: Token) -> None:
        try:
            values = _parse_file(_join(os.path.dirname(self._path), token.text), self._including)
        except ConfigError as error:
            message = f"error parsing include file '{token.text}', {error}"
            raise ConfigError(message, error.place) from None
        target = self._open[-1]
        assert isinstance(target, dict)  # the lexer knows the keyword only where a key may stand
        target.update(values)

    def _variable(self, token: Token) -> Value:
        name = token.text
        if name.startswith(_BCRYPT_PREFIX):
            return "$" + name
        for scope in reversed(self._open):
            if isinstance(scope, dict) and name in scope:
                scope[name].used = True
                return scope[name].value
        try:
            found = self._environment_variable(token)
        except ConfigError as error:
            raise ConfigError(
                f"variable reference for '{name}' on line {token.line} could not be parsed: {error}"
            ) from None
        if found is None:
            raise ConfigError(f"variable reference for '{name}' on line {token.line} can not be found")
        return found.value

    def _environment_variable(self, token: Token) -> Node | None:
        """The variable's value, read as configuration text: it may be a number, a list, another variable."""
        name = token.text
        if name in self._environment:
            raise ConfigError(f"variable reference cycle for '{name}'")
        if len(self._environment) >= MAX_REFERENCES:
            raise ConfigError(f"more than {MAX_REFERENCES} variables refer to each other")
        text = os.environ.get(name)
        if text is None:
            return None
        position = self._keys[-1] if self._keys and isinstance(self._open[-1], dict) else token
        origin = self._node(position, "")
        self._environment.add(name)
        try:
            inner = _Parser(f"{_ENVIRONMENT_KEY}={text}", "", self._including, self._environment, origin)
            return inner.parse().get(_ENVIRONMENT_KEY)
        finally:
            self._environment.discard(name)


def _integer(text: str) -> int | None:
    """The value of ``-12kb`` and the like; None for a suffix such as ``kbb``, which is read but means
    nothing.
    """
    digits = 0
    while digits < len(text) and (text[digits].isdecimal() or text[digits] == "-"):
        digits += 1
    number = text[:digits]
    if not number.isascii():
        raise ConfigError(f"expected integer, but got '{text}'")
    significant = number.lstrip("-").lstrip("0") or "0"
    value = INT64_MAX + 2 if len(significant) > 19 else int(significant)
    value = -value if number.startswith("-") else value
    if not INT64_MIN <= value <= INT64_MAX:
        raise ConfigError(f"integer '{text}' is out of the range")
    factor = _SIZES.get(text[digits:].lower())
    return None if factor is None else wrap_int(value * factor, 64)


def _float(text: str) -> float:
    if not text.isascii():
        raise ConfigError(f"expected float, but got '{text}'")
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ConfigError(f"float '{text}' is out of the range")
    return value


def _datetime(text: str) -> DateTime:
    """A date of the form that the lexer has checked, if such a moment exists."""
    if text.isascii():
        year, month, day = int(text[0:4]), int(text[5:7]), int(text[8:10])
        hour, minute, second = int(text[11:13]), int(text[14:16]), int(text[17:19])
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        days = (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
        if 1 <= month <= 12 and 1 <= day <= days[month - 1] and hour < 24 and minute < 60 and second < 60:
            return DateTime(text)
    raise ConfigError(f"expected Zulu formatted DateTime, but got '{text}'")
