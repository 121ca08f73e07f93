"""A reload and the clients that are connected already: may they stay?

their user is gone, or is in another account now      closed without a word
their user has another password or other ways in      they have to prove themselves again, with what they sent
only the permissions are others                       they stay, and get them
they are none of the configured users                 again, unless the rules for such clients are the same
"""

from __future__ import annotations

from enum import Enum

from broker.auth.authenticator import Authenticator
from broker.options import NkeyUser, User


class Fate(Enum):
    """What becomes of a client."""

    STAYS = "stays"
    GONE = "gone"
    CHECK = "check"


def fate(
    old: Authenticator, new: Authenticator, label: str
) -> tuple[Fate, User | NkeyUser | None, User | NkeyUser | None]:
    """The fate of the clients with this label (account, slash, ``Accepted.label``), and their user before and after."""
    before = old.by_label.get(label)
    if before is None:
        same = old.single() == new.single() and bool(old.by_label) == bool(new.by_label)
        return (Fate.STAYS if same else Fate.CHECK), None, None
    after = new.find(before)
    if after is None or after.account != before.account:
        return Fate.GONE, before, after
    return (Fate.STAYS if _same_way_in(before, after) else Fate.CHECK), before, after


def _same_way_in(before: User | NkeyUser, after: User | NkeyUser) -> bool:
    if before.connection_types != after.connection_types or before.proxy_required != after.proxy_required:
        return False
    if isinstance(before, User) and isinstance(after, User):
        return before.password == after.password
    return True
