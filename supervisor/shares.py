"""Who has to go when there are too many: how many of each worker's clients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence


def even_shares(live: Mapping[int, int], limit: int) -> dict[int, int]:
    """Of every worker's clients (``live``) as large a part as it has of all."""
    total = sum(live.values())
    surplus = total - max(limit, 0)
    shares: dict[int, int] = {}
    for worker, own in live.items():
        if surplus <= 0:
            break
        share = -(-surplus * own // total)  # rounded up
        total -= own
        surplus -= share
        if share:
            shares[worker] = share
    return shares


def newest_shares(crowd: Mapping[int, Sequence[int]], limit: int) -> dict[int, int]:
    """Those who came last. ``crowd``: of each worker how many it has, then the numbers of its newest clients, downwards.

    If the workers have told too few of them, it is every worker's own newest, in even shares.
    """
    live = {worker: counted[0] for worker, counted in crowd.items()}
    surplus = sum(live.values()) - max(limit, 0)
    if surplus <= 0:
        return {}
    everybody = ((cid, worker) for worker, counted in crowd.items() for cid in counted[1:])
    newest = sorted(everybody, reverse=True)[:surplus]
    last = newest[-1][0] if len(newest) == surplus else -1
    if any(len(counted) - 1 < counted[0] and counted[-1] > last for counted in crowd.values()):
        return even_shares(live, limit)
    return dict(Counter(worker for _, worker in newest))
