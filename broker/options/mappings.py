"""Subject mappings: ``source: destination``, or weighted destinations, perhaps by cluster."""

from __future__ import annotations

from typing import Final

from broker.options.authorization import is_subject
from broker.options.gotext import GoError, parse_int, quote
from broker.options.parser import Node, Value
from broker.options.report import Report, read_map, read_string, show
from broker.options.sections import MapDestination, SubjectMapping
from broker.options.transforms import TransformError, compile_transform

_KEYS: Final = ("dest", "destination", "weight", "cluster")


def read_mappings(section: Node, report: Report) -> list[SubjectMapping]:
    """The mappings of one account."""
    mappings: list[SubjectMapping] = []
    for source, node in (read_map(section, report) or {}).items():
        if not is_subject(source):
            report.error(section, f"Subject {quote(source)} is not a valid subject")
            continue
        if isinstance(node.value, str):
            wrong = _wrong_destination(source, node.value)
            if wrong:
                report.error(
                    node, f"Error adding mapping for {quote(source)} to {quote(node.value)} : {wrong}"
                )
            mappings.append(SubjectMapping(source, [MapDestination(node.value)]))
            continue
        entries = node.value if isinstance(node.value, list) else [node]
        found = [_read_destination(entry, report) for entry in entries]
        destinations = [destination for destination in found if destination is not None]
        wrong = _wrong_destinations(source, destinations)
        if wrong and len(destinations) == len(entries):
            report.error(node, f"Error adding mapping for {quote(source)} : {wrong}")
        mappings.append(SubjectMapping(source, destinations))
    return mappings


def _read_destination(node: Node, report: Report) -> MapDestination | None:
    if not isinstance(node.value, dict):
        report.error(node, "Expected an entry for the mapping destination")
        return None
    destination = MapDestination("", weight=-1)
    before = len(report.errors)
    for name, item in node.value.items():
        match name.lower():
            case "dest" | "destination":
                destination.subject = read_string(item, report) or ""
            case "weight":
                destination.weight = _read_weight(item, item.value, report)
            case "cluster":
                destination.cluster = read_string(item, report) or ""
            case _:
                reason = "Unknown field {} for mapping destination"
                report.unknown_field(name, item, _KEYS, reason, variable=False)
    if len(report.errors) > before:
        return None
    if destination.weight < 0:
        report.error(node, f"Missing weight for mapping destination {quote(destination.subject)}")
        return None
    return destination


def _read_weight(node: Node, value: Value, report: Report) -> int:
    """A percentage, as a number or as a string with or without its sign."""
    if isinstance(value, str):
        text = value.removesuffix("%")
        try:
            value = parse_int(text)
        except GoError:
            report.error(node, f"Invalid weight {quote(text)} for mapping destination")
            return 0
    if not isinstance(value, int) or isinstance(value, bool):
        report.error(node, f"Unknown entry type for weight of {show(value)}\n")
        return 0
    if not 0 <= value <= 100:
        report.error(node, f"Invalid weight {value} for mapping destination")
    return value


def _wrong_destinations(source: str, destinations: list[MapDestination]) -> str:
    """Why these can not share the messages of ``source``; empty if they can."""
    seen: set[str] = set()
    totals: dict[str, int] = {}
    for destination in destinations:
        if destination.subject in seen:
            return f"duplicate entry for {quote(destination.subject)}"
        seen.add(destination.subject)
        if destination.weight > 100:
            return "individual weights need to be <= 100"
        total = totals.get(destination.cluster, 0) + destination.weight
        totals[destination.cluster] = total
        if total > 100:
            return "total weight needs to be <= 100"
        wrong = _wrong_destination(source, destination.subject)
        if wrong:
            return wrong
    return ""


def _wrong_destination(source: str, destination: str) -> str:
    """Why messages to ``source`` can not go to ``destination``; empty if they can."""
    if not destination:
        return ""
    try:
        compile_transform(source, destination)
    except TransformError as error:
        return str(error)
    return ""
