"""Accounts, their exports, imports, mappings and limits: accepted or refused as nats-server does it, and in its words."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import pytest

from broker import options
from tests.harness import REAL, command
from tests.unit.options.test_verdicts import lines

pytestmark = pytest.mark.timeout(60)

NKEY: Final = "UBO2MQV67TQTVIRV3XFTEZOACM4WLOCMCDMAWN5QVN5PI2N6JHTVDRON"
OFFERED: Final = "{service: 'a.*'}, {stream: 'a.*'}, {service: '>', accounts: [B]}"


def exporting(entries: str) -> str:
    """Account A with these exports."""
    return f"accounts {{ A {{ exports [ {entries} ] }}\n B {{}} }}"


def importing(entries: str, offered: str = OFFERED) -> str:
    """Account B with these imports of what A offers."""
    return f"accounts {{ A {{ exports [ {offered} ] }}\n B {{ imports [ {entries} ] }}\n C {{}} }}"


ACCOUNTS: Final = {
    "nkey twice": f"accounts {{ A {{ users [ {{nkey: {NKEY}}}, {{nkey: {NKEY}}} ] }} }}",
    "user twice": "accounts { A { users [ {user: a}, {user: a} ] } }",
    "global": 'accounts { "$G" {} }',
    "twice": "accounts { A {}\n A {} }",
    "key": "accounts { A { nkey: foo } }",
    "maps": "accounts { A { maps { a: b } } }",
    "unknown": "accounts { A { foo: 1 } }",
    "unknown limit": "accounts { A { limits { foo: 1 } } }",
    "no number": "accounts { A { limits { max_conn: x } } }",
    "negative": "accounts { A { limits { max_conn: -5 } } }",
    "permissions": "accounts { A { default_permissions { publish: 'a..b' } } }",
    "trace": """accounts { A { msg_trace: t }
      B { trace_dest { dest: t, sampling: '50%' } }
      C { msg_trace { dest: t, sampling: 0 } }
      D { msg_trace { dest: t, sampling: 101 } }
      E { msg_trace { sampling: 5 } } }""",
    "stream of oneself": "accounts { A { exports [ {stream: s} ]\n imports [ {stream: {account: A, subject: s}} ] } }",
}

EXPORTS: Final = (
    "{service: a, response: singleton, threshold: 1s}\n{service: b, response_type: chunk, response_threshold: '2s'}",
    "{service: c, response: chunked, response_max_time: '100ms'}\n{service: d, response: STREAM, response_time: '1m'}",
    "{service: a, threshold: 5}",
    "{service: a, threshold: x}",
    "{service: a, threshold: '-5s'}",
    "{service: a, threshold: '0s'}",
    "{stream: a, response: single}",
    "{stream: a, latency: l}",
    "{stream: a, allow_trace: true}",
    "{service: 'a.*.b', account_token_position: 0}",
    "{service: 'a.*.b', account_token_position: 1}",
    "{service: 'a.*.b', account_token_position: 2}",
    "{service: 'a.*.b', account_token_position: 9}",
    "{stream: 'a.>', account_token_position: 2}",
    "{stream: a, account_token_position: 1}",
    "{stream: 'a.*', account_token_position: '2'}",
    "{stream: 'a.*', account_token_position: 2, accounts: [B]}",
    "{stream: 'a.*', accounts: []}",
    "{stream: 'a.*', accounts: B}",
    "{stream: 'a.*', accounts: [Z]}",
    "{service: 'a.*', accounts: [Z, B]}",
    "{stream: 'a.*', accounts: [A]}",
    "{stream: 'a.*', accounts: ['$G']}",
    "{stream: 'a.*', accounts: [B, B]}",
    "{service: a}\n{service: a}\n{stream: b}\n{stream: b}",
    "{service: 'a.*'}\n{service: a.b}",
    "{service: 'a..b'}\n{stream: 'a b'}\n{stream: ''}\n{service: '>.a'}",
    "{service: a, latency: {sampling: headers, subject: l}}",
    "{service: a, latency: {sampling: 101, subject: l}}",
    "{service: a, latency: {sampling: x, subject: l}}",
    "{service: a, latency: {sampling: '0%', subject: l}}",
    "{service: a, latency: {sampling: 0, subject: l}}",
    "{service: a, latency: {sampling: -1, subject: l}}",
    "{service: a, latency: {sampling: 5}}",
    "{service: a, latency: 5}",
    "{service: a, response: chunked, latency: l}",
)

# Imports, and the exports that they meet.
IMPORTS: Final = (
    ("{service: {account: A, subject: z}}\n{stream: {account: A, subject: z}}", "{service: b}, {stream: b}"),
    ("{service: {account: A, subject: b}}", "{service: b, accounts: [C]}"),
    ("{stream: {account: A, subject: b}}", "{stream: b, accounts: [C]}"),
    ("{service: {account: A, subject: a.b}}", "{service: 'a.*'}, {service: a.b, accounts: [C]}"),
    ("{service: {account: A, subject: a.b}}", "{service: 'a.*', accounts: [C]}, {service: a.b}"),
    ("{stream: {account: A, subject: a.b}}", "{stream: 'a.*'}, {stream: a.b, accounts: [C]}"),
    ("{service: {account: A, subject: 'a.*'}}", "{service: 'a.>'}"),
    ("{service: {account: A, subject: 'a.>'}}", "{service: 'a.*'}"),
    ("{service: {account: A, subject: a.b}}", "{stream: a.b}"),
    (
        "{service: {account: A, subject: 'a.B'}}\n{service: {account: A, subject: 'a.C'}}",
        "{service: 'a.*', account_token_position: 2}",
    ),
    ("{service: {account: Z, subject: a.b}}\n{stream: {account: Z, subject: a.b}}", OFFERED),
    ("{service: {account: B, subject: a.b}}", OFFERED),
    ("{service: {account: '$G', subject: a.b}}", OFFERED),
    ("{stream: {account: A, subject: a.b}}\n{stream: {account: A, subject: a.b}, prefix: x}", OFFERED),
    ("{service: {account: A, subject: a.b}, to: x}\n{service: {account: A, subject: a.c}, to: x}", OFFERED),
    ("{service: {account: A, subject: a.b}}\n{service: {account: A, subject: a.b}}", OFFERED),
    ("{service: {account: A, subject: a.b}, to: x}\n{service: {account: A, subject: a.b}, to: y}", OFFERED),
    ("{service: {account: A, subject: a.b}, allow_trace: true}", OFFERED),
    ("{stream: {account: A, subject: a.b}, allow_trace: true}", OFFERED),
    ("{stream: {account: A, subject: a.b}, share: true}", OFFERED),
    ("{service: {account: A, subject: a.b}, prefix: x}", OFFERED),
    ("{stream: {account: A}}", OFFERED),
    ("{stream: {subject: a}}", OFFERED),
    ("{service: {}}", OFFERED),
    ("{to: x}", OFFERED),
    ("{service: a}", OFFERED),
    ("{service: {account: A, subject: a.b, foo: 1}}", OFFERED),
    ("{service: {account: A, subject: a.b}, foo: 1}", OFFERED),
    ("{service: {account: 5, subject: a.b}}", OFFERED),
    ("{service: {account: A, subject: 5}}", OFFERED),
    ("{service: {account: A, subject: a.b}, to: 5}", OFFERED),
    ("{service: {account: A, subject: a.b}, share: 5}", OFFERED),
    ("{stream: {account: A, subject: 'a.*'}, to: 'x.{{partition(3,1)}}'}", OFFERED),
    ("{service: {account: A, subject: 'a.*'}, to: 'x.{{partition(3,1)}}'}", OFFERED),
    ("{stream: {account: A, subject: 'a.*'}, to: 'x.{{ Wildcard( 1 ) }}'}", OFFERED),
    ("{service: {account: A, subject: 'a.*'}, to: 'x.{{ Wildcard( 1 ) }}'}", OFFERED),
    ("{service: {account: A, subject: 'a.*'}, to: 'x.{{Wildcard(1)}}'}", OFFERED),
    ("{stream: {account: A, subject: 'a.*'}, prefix: 'x.$1'}", OFFERED),
    ("{stream: {account: A, subject: 'a.*'}, to: 'x.$2'}", OFFERED),
    ("{stream: {account: A, subject: 'a.*'}, to: 'x.$0'}", OFFERED),
    ("{stream: {account: A, subject: 'a.*'}, to: 'x.$1.$1'}", OFFERED),
    ("{service: {account: A, subject: 'a.*'}, to: 'x.$1.$1'}", OFFERED),
    ("{service: {account: A, subject: 'a.*'}, to: 'x.*.$1'}", OFFERED),
    ("{service: {account: A, subject: 'a.*'}, to: 'x.*.*'}", OFFERED),
    ("{service: {account: A, subject: 'a.*'}, to: 'x.>'}", OFFERED),
)

MAPPINGS: Final = (
    "a: b\n'c.*': 'd.$1'\n'e.*.*': 'f.$2'\n'g.>': 'h.>'",
    "a: b\na: c",
    "a: [ {dest: b, weight: 10}, {dest: b, weight: 10} ]",
    "a: {dest: b, weight: 101}",
    "a: [ {dest: b, weight: 60}, {dest: c, weight: 60} ]",
    "a: [ {dest: b, weight: 60}, {dest: c, weight: 60, cluster: x} ]",
    "a: [ {dest: b, weight: 60, cluster: x}, {dest: c, weight: 60, cluster: x} ]",
    "a: [ {dest: b, weight: 60}, {dest: b, weight: 60, cluster: x} ]",
    "a: {dest: b}",
    "a: {dest: b, weight: -1}",
    "a: {dest: b, weight: '50%'}",
    "a: {dest: b, weight: 0.5}",
    "a: [b, c]",
    "a: ''",
    "a: 'b c'",
    'a: "b\\x01c"',
    'a: "b\\r\\nc"',
    "'a..b': c",
    "'a b': c",
    "'a.*': 'b.*'",
    "'a.>': b",
    "a: 'b.>'",
    "'a.*': 'b.$2'",
    "'a.*': 'b.{{foo(1)}}'",
    "'a.*': 'b.{{left(1,2)}}'",
    "'a.*': 'b.{{split(1)}}'",
    "'a.*': 'b.{{wildcard(1,2)}}'",
    "'a.*': 'b.{{split(1,.)}}'",
    "'a.*': 'b.{{partition(x,1)}}'",
    "'a.*': 'b.{{partition()}}'",
    "'a.*': 'b.{{ Random( 5 ) }}'",
)

TEXTS: Final = (
    *ACCOUNTS.values(),
    *map(exporting, EXPORTS),
    *(importing(entries, offered) for entries, offered in IMPORTS),
    *(f"mappings {{ {one} }}" for one in MAPPINGS),
)


def verdict(folder: Path, text: str) -> tuple[list[str], int]:
    """What we say, and the exit code."""
    (folder / "c.conf").write_text(text + "\n")
    said, code = options.test_result(options.load(options.parse_command_line(["-t", "-c", "c.conf"])))
    return lines(said), code


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_verdict(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ours = verdict(tmp_path, text)
    real = subprocess.run(
        [*command(REAL), "-t", "-c", "c.conf"], capture_output=True, timeout=30, check=False
    )
    assert ours == (lines(real.stderr.decode("utf-8", "surrogateescape")), real.returncode), text


@pytest.mark.parametrize(
    ("text", "error"),
    [
        # What nats-server says of these depends on the order of a map, or is that it has crashed.
        (
            importing("{stream: {account: A, subject: a.b}, prefix: x, to: y}"),
            "Stream import can not have a 'prefix' and a 'to' property",
        ),
        (
            "no_system_account: true\naccounts { A { exports [ {service: q, latency: l} ] } }",
            'Error adding service latency sampling for "q": system account not setup',
        ),
        (exporting("{stream: a, threshold: '1s'}"), "Detected response directive on non-service"),
        (exporting("{stream: a, service: b}"), 'Detected service "b" but already saw a stream'),
        (
            exporting("{service: 'a.*.b', account_token_position: -1}"),
            'Error adding service export "a.*.b": sublist: invalid subject',
        ),
    ],
)
def test_refused(text: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (said,), code = verdict(tmp_path, text)
    assert said.endswith(f": {error}") and code == 1
