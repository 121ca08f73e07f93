"""Collecting what is wrong with a configuration, with positions, and reading values of the right type.

Nothing here raises for a wrong value: a reader reports it and returns None, and its caller goes on with the
next key, so that an operator sees every mistake at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from broker.options.gotext import GoError, format_float, parse_duration, quote, wrap_int
from broker.options.parser import DateTime, Node, Value

NANOSECONDS: Final = 1e9  # of a second; dividing by it keeps whole seconds exact

_TYPE_NAMES: Final[dict[type, str]] = {
    str: "string",
    bool: "bool",
    int: "int64",
    float: "float64",
    DateTime: "time.Time",
    dict: "map[string]interface {}",
    list: "[]interface {}",
}
_PLAIN_NAMES: Final[dict[type, str]] = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number with a fraction",
    DateTime: "a date",
    dict: "a map",
    list: "a list",
}


@dataclass(slots=True, frozen=True)
class Problem:
    """Something wrong or doubtful, and where it stands. ``text()`` is nats-server's line for it.

    nats-server names no place for a few mistakes, though there is one: those are not ``placed``. ``hint`` is a key
    that may have been meant.
    """

    reason: str
    node: Node | None = None
    placed: bool = True
    hint: str = ""
    plain: str = ""  # the reason in words for people, where nats-server has those of its language

    def text(self) -> str:
        """The line that nats-server prints."""
        return self.full_text() if self.placed else self.reason

    def full_text(self) -> str:
        """The reason behind its place, if there is one."""
        return self.reason if self.node is None else f"{self.node.source()}: {self.reason}"


@dataclass(slots=True)
class Report:
    """Errors refuse the configuration; warnings are shown and refuse it only when it is merely being tested."""

    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def error(self, node: Node | None, reason: str, placed: bool = True) -> None:
        """An error at a value; not ``placed`` where nats-server does not say at which."""
        self.errors.append(Problem(reason, node, placed))

    def warn(self, node: Node, field_name: str, reason: str) -> None:
        """A doubtful use of an option."""
        self.warnings.append(Problem(f"invalid use of field {quote(field_name)}: {reason}", node))

    def doubt(self, node: Node, reason: str) -> None:
        """A warning in words of its own."""
        self.warnings.append(Problem(reason, node))

    def unknown_field(
        self,
        name: str,
        node: Node,
        known: Iterable[str] = (),
        reason: str = "unknown field {}",
        variable: bool = True,
    ) -> None:
        """A key that means nothing, unless it serves as a variable, where it may. ``known`` are the possible keys."""
        if not (node.used and variable):
            self.errors.append(Problem(reason.replace("{}", quote(name)), node, hint=similar(name, known)))

    def wrong_type(self, node: Node, wanted: type) -> None:
        """A value of a type that the option does not take."""
        actual = type_name(node.value)
        reason = f"interface conversion: interface {{}} is {actual}, not {_TYPE_NAMES[wanted]}"
        plain = f"{_PLAIN_NAMES[wanted]} is expected, not {_PLAIN_NAMES[type(node.value)]}"
        if isinstance(node.value, str) and wanted in (bool, int):
            plain += " (write it without quotes)"
        elif wanted is str and not isinstance(node.value, dict | list):
            plain += " (write it in quotes)"
        self.errors.append(Problem(reason, node, plain=plain))


def similar(name: str, known: Iterable[str]) -> str:
    """The key that was probably meant by ``name``; empty if none is close."""
    from difflib import get_close_matches  # wanted only when there is a mistake

    wanted = name.lower()
    found = get_close_matches(wanted, list(known), 5, 0.7)
    # Swapped letters are the commonest mistake, and a wrong first letter the rarest.
    found.sort(key=lambda key: (sorted(key) != sorted(wanted), key[:1] != wanted[:1]))
    return found[0] if found else ""


def type_name(value: Value) -> str:
    """The type of a value as nats-server's messages name it."""
    return _TYPE_NAMES[type(value)]


def show(value: Value) -> str:
    """A value as nats-server's messages show it (``%v``)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format_float(value)
    if isinstance(value, DateTime):
        return f"{value.text[:10]} {value.text[11:19]} +0000 UTC"
    if isinstance(value, dict):
        return "a map" if value else "map[]"
    if isinstance(value, list):
        return "an array" if value else "[]"
    return str(value)


def read_string(node: Node, report: Report) -> str | None:
    """A string, quoted or bare."""
    if isinstance(node.value, str):
        return node.value
    report.wrong_type(node, str)
    return None


def read_bool(node: Node, report: Report) -> bool | None:
    """An unquoted boolean."""
    if isinstance(node.value, bool):
        return node.value
    report.wrong_type(node, bool)
    return None


def read_int(node: Node, report: Report) -> int | None:
    """An integer; sizes such as ``1k`` are integers, too."""
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        return node.value
    report.wrong_type(node, int)
    return None


def read_map(node: Node, report: Report) -> dict[str, Node] | None:
    """A map."""
    if isinstance(node.value, dict):
        return node.value
    report.wrong_type(node, dict)
    return None


def read_duration(name: str, node: Node, report: Report) -> float | None:
    """Seconds of a duration string; a bare integer counts seconds, and is warned about."""
    if isinstance(node.value, str):
        try:
            return parse_duration(node.value) / NANOSECONDS
        except GoError as error:
            report.error(node, f"error parsing {name}: {error}")
            return None
    report.warn(node, name, f"{name} should be converted to a duration")
    seconds = read_int(node, report)
    return None if seconds is None else wrap_int(seconds * 1_000_000_000, 64) / NANOSECONDS
