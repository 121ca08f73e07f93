"""Who has to go when there are too many."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.shares import even_shares, newest_shares


@given(st.dictionaries(st.integers(1, 9), st.integers(0, 50), max_size=5), st.integers(-1, 100))
def test_even(live: dict[int, int], limit: int) -> None:
    shares = even_shares(live, limit)
    assert sum(shares.values()) == max(0, sum(live.values()) - max(limit, 0))
    assert all(0 < share <= live[worker] for worker, share in shares.items())


@given(
    st.lists(st.integers(0, 3), max_size=60).map(lambda workers: list(enumerate(workers, 1))),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_newest(clients: list[tuple[int, int]], limit: int, told: int) -> None:
    own = {worker: sorted((cid for cid, at in clients if at == worker), reverse=True) for worker in range(4)}
    crowd = {worker: [len(cids), *cids[:told]] for worker, cids in own.items()}
    shares = newest_shares(crowd, limit)
    surplus = max(0, len(clients) - limit)
    assert sum(shares.values()) == surplus
    gone = {cid for worker, share in shares.items() for cid in own[worker][:share]}
    if told >= surplus:
        assert gone == {cid for cid, _ in clients[len(clients) - surplus :]}
