"""Which servers a request is meant for (upstream: ``EventFilterOptions`` and ``filterRequest`` in server/events.go)."""

from __future__ import annotations

from dataclasses import dataclass

from broker.system.info import ServerInfo


@dataclass(slots=True, frozen=True)
class EventFilterOptions:
    """What every request may say of the servers that shall answer; empty: whichever."""

    server_name: str = ""
    cluster: str = ""
    host: str = ""
    exact_match: bool = False
    tags: tuple[str, ...] = ()
    domain: str = ""


def meant(filters: EventFilterOptions, info: ServerInfo) -> bool:
    """Is this server one of them?"""
    pairs = ((filters.server_name, info.name), (filters.host, info.host), (filters.cluster, info.cluster))
    for wanted, ours in pairs:
        if wanted and not (wanted == ours if filters.exact_match else wanted in ours):
            return False
    tags = {tag.lower() for tag in info.tags}
    without_domain = not filters.domain  # which is JetStream's
    return without_domain and all(tag.lower() in tags for tag in filters.tags)
