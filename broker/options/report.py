"""Collecting what is wrong with a configuration, with positions, and reading values of the right type.

Nothing here raises for a wrong value: a reader reports it and returns None, and its caller goes on with the
next key, so that an operator sees every mistake at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from broker.options.gotext import GoError, format_float, parse_duration, quote, wrap_int
from broker.options.parser import DateTime, Node, Value

NANOSECOND: Final = 1e-9

_TYPE_NAMES: Final[dict[type, str]] = {
    str: "string",
    bool: "bool",
    int: "int64",
    float: "float64",
    DateTime: "time.Time",
    dict: "map[string]interface {}",
    list: "[]interface {}",
}


@dataclass(slots=True)
class Report:
    """Errors refuse the configuration; warnings are shown and refuse it only when it is merely being tested."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def error(self, node: Node | None, reason: str) -> None:
        """An error at a value; or at no place, where nats-server gives none either."""
        self.errors.append(reason if node is None else f"{node.source()}: {reason}")

    def warn(self, node: Node, field_name: str, reason: str) -> None:
        """A doubtful use of an option."""
        self.warnings.append(f"{node.source()}: invalid use of field {quote(field_name)}: {reason}")

    def unknown_field(self, name: str, node: Node) -> None:
        """A key that means nothing, unless it serves as a variable."""
        if not node.used:
            self.error(node, f"unknown field {quote(name)}")

    def unsupported(self, name: str, node: Node) -> None:
        """A key of nats-server that this server does not implement: refused, never ignored."""
        self.error(node, f"option {quote(name)} is known but not supported yet")

    def wrong_type(self, node: Node, wanted: type) -> None:
        """A value of a type that the option does not take."""
        actual = type_name(node.value)
        self.error(node, f"interface conversion: interface {{}} is {actual}, not {_TYPE_NAMES[wanted]}")


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
            return parse_duration(node.value) * NANOSECOND
        except GoError as error:
            report.error(node, f"error parsing {name}: {error}")
            return None
    report.warn(node, name, f"{name} should be converted to a duration")
    seconds = read_int(node, report)
    return None if seconds is None else wrap_int(seconds * 1_000_000_000, 64) * NANOSECOND
