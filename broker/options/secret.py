"""Values that must not be shown: passwords, tokens, seeds, and addresses that hold a password.

Whatever holds a secret of the configuration holds one of these types, so that no log line, error message, trace
or dump of options can show it by accident.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MASK: Final = "[REDACTED]"


class Secret:
    """A string that must not reach a log, a trace or an error message by accident.

    Every way of turning it into text gives ``[REDACTED]``; only ``reveal()`` gives the value. Two secrets are
    equal when their values are. The comparison is an ordinary one: code that checks a credential sent by a
    client has to use a constant-time comparison of the revealed values instead.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The protected string."""
        return self._value

    def __repr__(self) -> str:
        return MASK

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        return self._value == other._value if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return (Secret, (self._value,))


@dataclass(slots=True, frozen=True)
class Url:
    """The address of another server. As text the password is masked; ``reveal()`` gives the whole.

    The name is a secret, too, when it stands without a password: then it is a token.
    """

    scheme: str
    host: str  # without the brackets of an IPv6 address
    port: int  # 0: none was given
    username: str = ""
    password: Secret | None = None
    path: str = ""

    def __str__(self) -> str:
        return self._text(masked=True)

    def __repr__(self) -> str:
        return f"Url({self})"

    def reveal(self) -> str:
        """The whole address, with its password."""
        return self._text(masked=False)

    def _text(self, masked: bool) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        place = f"{host}:{self.port}" if self.port else host
        who = ""
        if self.password is not None:
            who = f"{self.username}:{MASK if masked else self.password.reveal()}@"
        elif self.username:
            who = f"{MASK if masked else self.username}@"
        return f"{self.scheme}://{who}{place}{self.path}"
