"""Which servers a request is meant for (upstream: ``EventFilterOptions`` and ``filterRequest`` in server/events.go)."""

from __future__ import annotations

from dataclasses import dataclass

from broker.options import Options


@dataclass(slots=True, frozen=True)
class EventFilterOptions:
    """What every request may say of the servers that shall answer; empty: whichever."""

    server_name: str = ""
    cluster: str = ""
    host: str = ""
    exact_match: bool = False
    tags: tuple[str, ...] = ()
    domain: str = ""


def meant(filters: EventFilterOptions, options: Options, server_name: str) -> bool:
    """Is this server one of them?"""
    cluster = options.cluster.name if options.cluster is not None else ""
    if options.gateway is not None:
        cluster = options.gateway.name
    pairs = ((filters.server_name, server_name), (filters.host, options.host), (filters.cluster, cluster))
    for wanted, ours in pairs:
        if wanted and not (wanted == ours if filters.exact_match else wanted in ours):
            return False
    tags = {tag.lower() for tag in options.server_tags}
    return (
        all(tag.lower() in tags for tag in filters.tags) and not filters.domain
    )  # we have no JetStream domain
