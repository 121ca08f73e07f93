"""Feature flags: what the log, monitoring and the system account say of them."""

from __future__ import annotations

import re

import pytest

from tests.harness import Kind, start
from tests.server.monitor import MONITOR, Monitor
from tests.server.shared import Dial
from tests.server.system import asker

KNOWN = ("js_ack_fc_v2", "js_raft_delete_range")
SYSTEM = "accounts { SYS { users: [ { user: sys, password: sys } ] } }\nsystem_account: SYS\n"


@pytest.mark.parametrize(
    ("flags", "lines"),
    [
        ("feature_flags { }", []),
        ("feature_flags { zzz: true }", ["Configured:    none", "Unsupported:   zzz"]),
        ("feature_flags { js_ack_fc_v2: true }", ["Configured:    js_ack_fc_v2 (opt-in)"]),
        (
            "feature_flags { js_raft_delete_range: false, b: true, js_ack_fc_v2: true, a: false }",
            ["Configured:    js_ack_fc_v2 (opt-in), js_raft_delete_range (disabled)", "Unsupported:   a, b"],
        ),
    ],
)
def test_log(kind: Kind, flags: str, lines: list[str]) -> None:
    server = start(kind, flags)
    try:
        found = re.findall(r"\[INF\] (  Feature flags:|    (?:Configured|Unsupported):.*)", server.log.text)
        assert found == (["  Feature flags:", *("    " + line for line in lines)] if lines else [])
        server.stop()
    finally:
        server.destroy()


@pytest.mark.parametrize(
    ("configured", "on"), [("", ""), ("js_ack_fc_v2: true, other: true", "js_ack_fc_v2")]
)
def test_told(dial: Dial, configured: str, on: str) -> None:
    """Those that the server knows, and no others."""
    config = f"{SYSTEM}{MONITOR}\nfeature_flags {{ {configured} }}"
    expected = {name: name == on for name in KNOWN}
    answer = asker(dial, config, "sys").ask("$SYS.REQ.SERVER.PING.VARZ").json
    assert answer["server"]["feature_flags"] == answer["data"]["feature_flags"] == expected
    assert Monitor(dial.server(config)).json("/varz")["feature_flags"] == expected
