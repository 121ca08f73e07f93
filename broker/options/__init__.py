"""Configuration of the server: the types, the command line, the file.

``parse_command_line``, ``load`` and ``validate_start`` are the way from arguments to checked ``Options``.
Importing this package loads the types only, because every worker needs those and nothing else; the rest comes
with its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.options.model import (
    NkeyUser,
    Options,
    Permissions,
    ResponsePermission,
    Secret,
    SubjectList,
    User,
)

if TYPE_CHECKING:
    from broker.options.command_line import Command, parse_command_line
    from broker.options.loading import (
        Loaded,
        advertised_address,
        failure_text,
        load,
        test_result,
        validate_start,
    )

__all__ = [
    "Command",
    "Loaded",
    "NkeyUser",
    "Options",
    "Permissions",
    "ResponsePermission",
    "Secret",
    "SubjectList",
    "User",
    "advertised_address",
    "failure_text",
    "load",
    "parse_command_line",
    "test_result",
    "validate_start",
]


def __getattr__(name: str) -> object:
    if name in ("Command", "parse_command_line"):
        from broker.options import command_line as module
    elif name in __all__:
        from broker.options import loading as module  # type: ignore[no-redef]
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(module, name)
    return found
