"""From options to accounts in the data plane, once at the start of a worker."""

from __future__ import annotations

from broker.accounts.names import account_names
from broker.core import Core
from broker.options import Options


def set_up_accounts(core: Core, options: Options) -> dict[str, int]:
    """Make every account; returns the data plane's numbers of them by name. MemoryError: no room."""
    numbers = {name: core.account(name) for name in account_names(options)}
    places = {name: place for place, name in enumerate(numbers)}
    for name, place in places.items():
        core.account_limits(numbers[name], place)
    for account in options.accounts:
        limits = account.limits
        core.account_limits(
            numbers[account.name],
            places[account.name],
            limits.max_connections,
            limits.max_subscriptions,
            limits.max_payload,
        )
    return numbers
