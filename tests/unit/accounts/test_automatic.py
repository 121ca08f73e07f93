"""What is imported of the system account without a word in the configuration."""

from __future__ import annotations

from broker.accounts.automatic import automatic_imports, system_exports
from broker.options import Options
from broker.options.sections import AccountOptions, Export, Import


def locals_of(options: Options, name: str) -> dict[str, str]:
    """Local subject: that in the system account."""
    return {one.found.to: one.found.subject for one in automatic_imports(options) if one.importer == name}


def test_every_account_asks_about_itself() -> None:
    options = Options(accounts=[AccountOptions("A"), AccountOptions("S")], system_account="S")
    for name in ("$G", "A"):
        assert locals_of(options, name) == {
            "$SYS.REQ.ACCOUNT.PING.CONNZ": f"$SYS.REQ.ACCOUNT.{name}.CONNZ",
            "$SYS.REQ.SERVER.PING.CONNZ": f"$SYS.REQ.ACCOUNT.{name}.CONNZ",
            "$SYS.REQ.ACCOUNT.PING.STATZ": f"$SYS.REQ.ACCOUNT.{name}.STATZ",
            "$SYS.REQ.USER.INFO": f"$SYS.REQ.USER.{name}.INFO",
        }
    assert locals_of(options, "S") == {"$SYS.REQ.USER.INFO": "$SYS.REQ.USER.S.INFO"}
    shared = {one.found.subject for one in automatic_imports(options) if one.found.share}
    assert shared == {f"$SYS.REQ.USER.{name}.INFO" for name in ("$G", "A", "S")}


def test_none_where_there_is_no_system_account() -> None:
    assert automatic_imports(Options(accounts=[AccountOptions("A")], no_system_account=True)) == []


def test_what_is_configured_counts() -> None:
    own = Import("service", "$SYS", "$SYS.REQ.ACCOUNT.B.CONNZ", to="$SYS.REQ.SERVER.PING.CONNZ")
    other = Import("service", "B", "svc", to="$SYS.REQ.USER.INFO")
    options = Options(accounts=[AccountOptions("A", imports=[own, other]), AccountOptions("B")])
    assert set(locals_of(options, "A")) == {
        "$SYS.REQ.ACCOUNT.PING.CONNZ",
        "$SYS.REQ.ACCOUNT.PING.STATZ",
        "$SYS.REQ.USER.INFO",
    }
    assert len(locals_of(options, "B")) == 4


def test_names_that_are_no_token() -> None:
    names = ["", "*", ">", "PING", "A.B", "a b", "a\tb", "a\r\nb", "a\0b"]
    options = Options(accounts=[AccountOptions(name) for name in names])
    assert {one.importer for one in automatic_imports(options)} == {"$G", "$SYS"}


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
