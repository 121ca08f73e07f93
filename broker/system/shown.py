"""A set of permissions as clients and operators are shown it."""

from __future__ import annotations

from typing import Any

from broker.options import Permissions, SubjectList


def permission_fields(permissions: Permissions) -> dict[str, Any]:
    """The object. What is not restricted is empty."""
    fields: dict[str, Any] = {
        "publish": _lists(permissions.publish),
        "subscribe": _lists(permissions.subscribe),
    }
    responses = permissions.responses
    if responses is not None:
        expires = round(responses.expires * 1e9)
        fields["responses"] = {"max": responses.max_messages, "ttl": expires}
    return fields


def _lists(subjects: SubjectList) -> dict[str, list[str]]:
    lists = (("allow", subjects.allow), ("deny", subjects.deny))
    return {name: list(entries) for name, entries in lists if entries}
