"""What every account may ask the system account about itself, without a word in the configuration (upstream:
``addSystemAccountExports`` and ``registerSystemImports`` in server/accounts.go, server/events.go).

The local subject says nothing of the account; the server puts it into the subject of the request in the system account. That
is all that keeps accounts apart here, so it is made in this one place.
"""

from __future__ import annotations

from typing import Final

from broker.accounts.names import system_account
from broker.options import Options
from broker.options.sections import AccountOptions, Export, Import
from broker.options.sharing import collide, covers

USER_INFO: Final = "$SYS.REQ.USER.INFO"
_OWN: Final = (  # local subject, in the system account, is the client shown?
    ("$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.REQ.ACCOUNT.{}.CONNZ", False),
    ("$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.ACCOUNT.{}.CONNZ", False),
    ("$SYS.REQ.ACCOUNT.PING.STATZ", "$SYS.REQ.ACCOUNT.{}.STATZ", False),
    (USER_INFO, "$SYS.REQ.USER.{}.INFO", True),
)
_EXPORTS: Final = (  # what of it is answered by many servers
    ("$SYS.REQ.ACCOUNT.*.CONNZ", True),
    ("$SYS.REQ.ACCOUNT.*.STATZ", True),
    ("$SYS.DEBUG.SUBSCRIBERS", False),
    ("$SYS.REQ.USER.*.INFO", False),
)


def system_exports(options: Options) -> list[Export]:
    """The services that the system account offers by itself: those that it is not said to offer already."""
    own = next((one for one in options.accounts if one.name == system_account(options)), None)
    said = [export.subject for export in own.exports if export.kind == "service"] if own is not None else []
    return [
        Export("service", subject, response_type="stream" if streamed else "single")
        for subject, streamed in _EXPORTS
        if not any(covers(other, subject) for other in said)
    ]


def automatic_imports(account: AccountOptions, system: str) -> list[Import]:
    """The imports that are added to those of the configuration: none where it takes something of the system account by the same
    name, and none for an account that no subject can name."""
    if not system or not _is_token(account.name):
        return []
    return [
        Import("service", system, target.format(account.name), to=local, share=share)
        for local, target, share in _OWN
        if (account.name != system or local == USER_INFO) and not _taken(account, system, local)
    ]


def passes_on(account: AccountOptions) -> bool:
    """Whether other accounts may get at its automatic imports, so that they have to be there without a client of its own."""
    return any(
        export.kind == "service" and collide(export.subject, local)
        for export in account.exports
        for local, _, _ in _OWN
    )


def _taken(account: AccountOptions | None, system: str, local: str) -> bool:
    imports = account.imports if account is not None else []
    return any(
        one.kind == "service" and one.account == system and (one.to or one.subject) == local
        for one in imports
    )


def _is_token(name: str) -> bool:
    """Whether a subject may name it. PING stands for all accounts, which no account may ask about."""
    return bool(name) and name not in ("*", ">", "PING") and not set(name) & set(". \t\r\n\f\0")
