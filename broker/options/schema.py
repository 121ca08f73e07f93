"""Sections as tables: which keys a section has, what each sets, and how its value is read.

A table maps a key in lower case to the field that it sets and the reader of its value. A reader reports what is
wrong and then returns None, which sets nothing; so every mistake of a section is found, not only the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from broker.options import report as values
from broker.options.gotext import GoError, parse_duration, parse_int, quote, split_host_port
from broker.options.parser import Node
from broker.options.report import NANOSECONDS, Report, show, type_name
from broker.options.secret import Secret, Url

Reader: TypeAlias = Callable[
    [str, Node, Report], Any
]  # (key as written, value, report) -> what to set, or None
Schema: TypeAlias = Mapping[str, tuple[str, Reader]]

SEVERAL: Final = "*"  # in place of a field: the reader returns a dict of fields


def keys(field: str, reader: Reader, *names: str) -> dict[str, tuple[str, Reader]]:
    """The entries of a table for one field; without ``names`` the key is called like the field."""
    return dict.fromkeys(names or (field,), (field, reader))


def read_section(items: Mapping[str, Node], target: object, schema: Schema, report: Report) -> None:
    """Set in ``target`` what the ``items`` of a section say."""
    for name, node in items.items():
        entry = schema.get(name.lower())
        if entry is None:
            report.unknown_field(name, node, schema)
        else:
            read_item(name, node, target, entry, report)


def read_item(name: str, node: Node, target: object, entry: tuple[str, Reader], report: Report) -> None:
    """Set in ``target`` what one key says."""
    field, reader = entry
    value = reader(name, node, report)
    if value is None:
        return
    for key, one in value.items() if field == SEVERAL else ((field, value),):
        setattr(target, key, one)


# -- readers ------------------------------------------------------------------------------------------------------


def text(_name: str, node: Node, report: Report) -> str | None:
    """A string."""
    return values.read_string(node, report)


def flag(_name: str, node: Node, report: Report) -> bool | None:
    """A boolean."""
    return values.read_bool(node, report)


def number(_name: str, node: Node, report: Report) -> int | None:
    """An integer."""
    return values.read_int(node, report)


def secret(_name: str, node: Node, report: Report) -> Secret | None:
    """A string that nobody may see; an empty one is none."""
    value = values.read_string(node, report)
    return Secret(value) if value else None


def duration(label: str) -> Reader:
    """A duration string, or a number of seconds with a warning; messages call it ``label``."""
    return lambda _name, node, report: values.read_duration(label, node, report)


def seconds(section: str) -> Reader:
    """A number of seconds, also a broken one, or a duration string: a ``timeout`` of ``section``."""

    def read(_name: str, node: Node, report: Report) -> float | None:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            report.error(node, f"error parsing {section} config, 'timeout' wrong type")
            return None
        if not isinstance(value, str):
            return float(value)
        try:
            return parse_duration(value) / NANOSECONDS
        except GoError as error:
            report.error(node, f"error parsing {section} config, 'timeout' {error}")
            return None

    return read


def name_without_spaces(what: str) -> Reader:
    """A name; ``what`` it names is part of the message."""

    def read(_name: str, node: Node, report: Report) -> str | None:
        value = values.read_string(node, report)
        if value is not None and " " in value:
            report.error(node, f"{what} name cannot contain spaces")
            return None
        return value

    return read


def listen(host: str = "host", port: str = "port") -> Reader:
    """``port`` or ``"host:port"``. A bare port clears the host that has been set before."""

    def read(_name: str, node: Node, report: Report) -> dict[str, str | int] | None:
        value = node.value
        if isinstance(value, int) and not isinstance(value, bool):
            return {host: "", port: value}
        if not isinstance(value, str):
            report.error(node, f"expected port or host:port, got {type_name(value)}")
            return None
        try:
            host_text, port_text = split_host_port(value)
        except GoError:
            report.error(node, f"could not parse address string {quote(value)}")
            return None
        try:
            return {host: host_text, port: parse_int(port_text)}
        except GoError:
            report.error(node, f"could not parse port {quote(port_text)}")
            return None

    return read


def strings(label: str) -> Reader:
    """A string or a list of strings; messages call it ``label``."""

    def read(_name: str, node: Node, report: Report) -> list[str] | None:
        if isinstance(node.value, str):
            return [node.value]
        if not isinstance(node.value, list):
            report.error(node, f"error parsing {label}: unsupported type {type_name(node.value)}")
            return None
        return list(_strings_of(node.value, label, report))

    return read


def _strings_of(items: Iterable[Node], label: str, report: Report) -> Iterable[str]:
    for item in items:
        if isinstance(item.value, str):
            yield item.value
        else:
            kind = type_name(item.value)
            report.error(item, f"error parsing {label}: unsupported type in array {kind}")


def list_of_strings(_name: str, node: Node, report: Report) -> list[str] | None:
    """A list of strings and nothing else."""
    if not isinstance(node.value, list):
        report.wrong_type(node, list)
        return None
    found = [values.read_string(item, report) for item in node.value]
    return [item for item in found if item is not None]


def write_timeout(_name: str, node: Node, report: Report) -> str | None:
    """What becomes of a connection that does not take its data in time."""
    value = values.read_string(node, report)
    if value is not None and value not in ("default", "close", "retry"):
        report.error(node, "write_timeout must be 'default', 'close' or 'retry'")
        return None
    return value


def entries(node: Node, report: Report, not_a_list: str) -> list[Node] | None:
    """The items of a list; anything else is an error in these words, with the type or value in place of ``{}``."""
    if isinstance(node.value, list):
        return node.value
    report.error(node, not_a_list.replace("{T}", type_name(node.value)).replace("{v}", show(node.value)))
    return None


def section(node: Node, report: Report, not_a_map: str) -> dict[str, Node] | None:
    """The items of a map; anything else is an error in these words, with the type or value in place of ``{}``."""
    if isinstance(node.value, dict):
        return node.value
    report.error(node, not_a_map.replace("{T}", type_name(node.value)).replace("{v}", show(node.value)))
    return None


# -- addresses of other servers --------------------------------------------------------------------------------------


def read_url(node: Node, kind: str, report: Report) -> Url | None:
    """The address of a ``kind`` of server."""
    value = values.read_string(node, report)
    if value is None:
        return None
    url = parse_url(value)
    if url is None:
        report.error(node, f"error parsing {kind} url [{quote(mask_url(value.strip()))}]")
    return url


def read_urls(node: Node, kind: str, report: Report) -> list[Url] | None:
    """A list of addresses; one that comes twice is warned about and taken once."""
    if not isinstance(node.value, list):
        report.wrong_type(node, list)
        return None
    urls: list[Url] = []
    seen: set[object] = set()
    for item in node.value:
        if isinstance(item.value, str) and item.value in seen:
            report.warn(item, mask_url(item.value), f"Duplicate {kind} entry detected")
            continue
        url = read_url(item, kind, report)
        if url is not None:
            seen.add(item.value)
            urls.append(url)
    return urls


def mask_url(value: str) -> str:
    """What may be shown of an address that may be none: no name, no password."""
    scheme, separator, rest = value.rpartition("://")
    _, at, place = rest.rpartition("@")
    return f"{scheme}{separator}[REDACTED]@{place}" if at else value


def parse_url(value: str) -> Url | None:
    """The parts of an address; None if it is none."""
    from urllib.parse import unquote, urlsplit  # only configurations with links to other servers need it

    try:
        parts = urlsplit(value.strip())
        host, port = parts.hostname or "", parts.port or 0
    except ValueError:
        return None
    if not parts.scheme and ":" in value:
        return None
    return Url(
        scheme=parts.scheme,
        host=host,
        port=port,
        username=unquote(parts.username or ""),
        password=None if parts.password is None else Secret(unquote(parts.password)),
        path=parts.path,
    )
