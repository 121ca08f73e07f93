"""What is imported of the system account without a word in the configuration."""

from __future__ import annotations

from broker.accounts.automatic import automatic_imports, passes_on, system_exports
from broker.options import Options
from broker.options.sections import AccountOptions, Export, Import


def locals_of(account: AccountOptions, system: str = "S") -> dict[str, str]:
    """Local subject: that in the system account."""
    return {one.to: one.subject for one in automatic_imports(account, system)}


def test_every_account_asks_about_itself() -> None:
    for name in ("$G", "A", "A*"):
        assert locals_of(AccountOptions(name)) == {
            "$SYS.REQ.ACCOUNT.PING.CONNZ": f"$SYS.REQ.ACCOUNT.{name}.CONNZ",
            "$SYS.REQ.SERVER.PING.CONNZ": f"$SYS.REQ.ACCOUNT.{name}.CONNZ",
            "$SYS.REQ.ACCOUNT.PING.STATZ": f"$SYS.REQ.ACCOUNT.{name}.STATZ",
            "$SYS.REQ.USER.INFO": f"$SYS.REQ.USER.{name}.INFO",
        }
    assert locals_of(AccountOptions("S")) == {"$SYS.REQ.USER.INFO": "$SYS.REQ.USER.S.INFO"}
    shared = [one.subject for one in automatic_imports(AccountOptions("A"), "S") if one.share]
    assert shared == ["$SYS.REQ.USER.A.INFO"]


def test_none_where_there_is_no_system_account() -> None:
    assert automatic_imports(AccountOptions("A"), "") == []


def test_what_is_configured_counts() -> None:
    own = Import("service", "S", "$SYS.REQ.ACCOUNT.B.CONNZ", to="$SYS.REQ.SERVER.PING.CONNZ")
    other = Import("service", "B", "svc", to="$SYS.REQ.USER.INFO")
    assert set(locals_of(AccountOptions("A", imports=[own, other]))) == {
        "$SYS.REQ.ACCOUNT.PING.CONNZ",
        "$SYS.REQ.ACCOUNT.PING.STATZ",
        "$SYS.REQ.USER.INFO",
    }


def test_names_that_are_no_token() -> None:
    for name in ["", "*", ">", "PING", "A.B", "a b", "a\tb", "a\r\nb", "a\0b"]:
        assert locals_of(AccountOptions(name)) == {}


def test_what_is_passed_on() -> None:
    for subject, passed in (
        ("$SYS.REQ.USER.INFO", True),
        ("$SYS.>", True),
        ("*.REQ.*.*", True),
        ("svc", False),
    ):
        assert passes_on(AccountOptions("A", exports=[Export("service", subject)])) is passed
        assert not passes_on(AccountOptions("A", exports=[Export("stream", subject)]))


def test_exports() -> None:
    everything = system_exports(Options())
    assert [(export.subject, export.response_type) for export in everything] == [
        ("$SYS.REQ.ACCOUNT.*.CONNZ", "stream"),
        ("$SYS.REQ.ACCOUNT.*.STATZ", "stream"),
        ("$SYS.DEBUG.SUBSCRIBERS", "single"),
        ("$SYS.REQ.USER.*.INFO", "single"),
    ]
    said = [Export("service", "$SYS.REQ.ACCOUNT.*.*"), Export("stream", "$SYS.DEBUG.SUBSCRIBERS")]
    options = Options(accounts=[AccountOptions("$SYS", exports=said)])
    assert [export.subject for export in system_exports(options)] == [
        "$SYS.DEBUG.SUBSCRIBERS",
        "$SYS.REQ.USER.*.INFO",
    ]
