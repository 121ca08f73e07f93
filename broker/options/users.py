"""Users and their permissions, as a configuration states them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from broker.options.secret import Secret

GLOBAL_ACCOUNT: Final = "$G"


@dataclass(slots=True)
class SubjectList:
    """One side (publish or subscribe) of a permission. An empty ``allow`` allows everything that is not denied.

    Entries are subjects; those of the subscribe side may be ``"subject queue"``.
    """

    allow: list[str] = field(default_factory=list)
    deny: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ResponsePermission:
    """The right to answer a received request: ``max_messages`` replies within ``expires`` seconds.

    Negative values mean unlimited.
    """

    max_messages: int = 1
    expires: float = 120.0


@dataclass(slots=True)
class Permissions:
    """What a user may publish and subscribe. Empty lists restrict nothing.

    With ``responses`` and without a publish allow list, nothing but responses may be published.
    """

    publish: SubjectList = field(default_factory=SubjectList)
    subscribe: SubjectList = field(default_factory=SubjectList)
    responses: ResponsePermission | None = None


@dataclass(slots=True)
class User:
    """A user known by name and password (plain or bcrypt; an empty password needs none).

    ``permissions`` None means everything is allowed; an empty ``connection_types`` means any kind of
    connection.
    """

    name: str
    password: Secret = field(default_factory=lambda: Secret(""))
    permissions: Permissions | None = None
    connection_types: frozenset[str] = frozenset()
    account: str = GLOBAL_ACCOUNT
    proxy_required: bool = False  # accepted through a trusted proxy only


@dataclass(slots=True)
class NkeyUser:
    """A user known by its public nkey (``U...``). The other fields are those of ``User``."""

    nkey: str
    permissions: Permissions | None = None
    connection_types: frozenset[str] = frozenset()
    account: str = GLOBAL_ACCOUNT
    proxy_required: bool = False
