"""The verdict on a configuration is nats-server's: the same texts are refused, in the same words, at the same place.

Every text of the table is given to both, as a file to test (``-t -c c.conf``). What both print must be equal line by line, in
any order (nats-server walks maps in a random one), and so must the exit code. Files that a text includes stand behind it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from broker import options
from tests.harness import REAL, command

pytestmark = pytest.mark.timeout(60)

ENVIRONMENT: Final = {
    "V_NUMBER": "4333",
    "V_WORD": "hello",
    "V_SIZE": "1MB",
    "V_QUOTED": "'10s'",
    "V_LIST": "[{user: a, password: b}]",
    "V_NEXT": "$V_NUMBER",
    "V_LOOP": "$V_POOL",
    "V_POOL": "$V_LOOP",
    "V_BROKEN": "'x",
    "V_EMPTY": "",
}
USERS: Final = "authorization { users: [ %s ] }"
USER: Final = USERS % "{user: a, password: b, permissions: { %s }}"

TEXTS: Final = (
    # the language: structure
    "",
    "# nothing\n// at all\n",
    "port: 4222",
    "port = 4222\n",
    "port 4222\n",
    "{ port: 4222 }",
    "{ port: 4222",
    "port: 4222 }",
    "port: 4222 }\nhost: a",
    "port: 4222; host: a, server_name: n\n",
    "port: 4222 host: a\n",
    "port:\n",
    "port:\n\nhost: a\n",
    "port\n",
    "port:: 4222\n",
    "port: = 4222\n",
    "= 4222\n",
    ": 4222\n",
    "}\n",
    "]\n",
    "port: ]\n",
    "port: 4222,,\n",
    '"port": 4222\n',
    "'port': 4222\n",
    "'port: 4222\n",
    '"port: 4222\n',
    "PORT: 4222\nHost: a\n",
    "port: 1\nport: 2\n",
    "authorization{ user: a }\n",
    "authorization { user: a, password: b\n",
    "authorization {\n  user: a\n  password: b\n",
    "authorization { user: a password: b }\n",
    "authorization { user: a,, password: b }\n",
    "authorization { user: , password: b }\n",
    "authorization { user }\n",
    "authorization { user: }\n",
    "authorization [ ]\n",
    "authorization: {}\n",
    "authorization\n{ user: a }\n",
    "authorization { users [ {user: a} \n{user: b} ] }\n",
    "authorization { users [ {user: a} {user: b} ] }\n",
    "authorization { users = [ {user: a}, {user: b}, ] }\n",
    "authorization { users = [ , {user: a} ] }\n",
    "authorization { users = [ {user: a}\n",
    "/* no */ port: 1\n",
    "port: 4222 # a comment\nhost: a // another\n",
    "port: 4222 / what\n",
    "\u00a0port: 4222\n",
    "\ufeffport: 4222\n",
    "port: 4222\r\nhost: a\r\n",
    # values
    "port: 4222.5\n",
    "port: .5\n",
    "port: 1.\n",
    "port: -x\n",
    "port: '4222'\n",
    "port: yes\n",
    "port: 1e3\n",
    "port: 0x10\n",
    "port: 99999999999999999999\n",
    "port: 2020-01-02T03:04:05Z\n",
    "port: 2020-01-02\n",
    "port: [1, 2]\n",
    "port: {a: 1}\n",
    "host: 5\n",
    "host: true\n",
    "host: '\n",
    'host: "a\\qb"\n',
    'host: "a\\x4"\n',
    'host: "a\\xZZ"\n',
    "host: a'b\n",
    "host: a#b\n",
    "server_name: (\nx\n)\n",
    "server_name: (\nx\n",
    "debug: 'yes'\n",
    "debug: 1\n",
    "debug: ON\ntrace: No\n",
    # sizes and durations
    "max_payload: 1MB\n",
    "max_payload: 1kbb\n",
    "max_payload: 3gb\n",
    "max_payload: -1\n",
    "max_payload: 99e\n",
    "max_control_line: 4gb\n",
    "max_control_line: '4k'\n",
    "max_pending: 1.5mb\n",
    "max_connections: -1\n",
    "max_subscriptions: 10k\n",
    "max_sub_tokens: 256\n",
    "max_sub_tokens: 0\n",
    "max_sub_tokens: -3\n",
    "ping_interval: '1m30s'\n",
    "ping_interval: 1m30s\n",
    "ping_interval: 30\n",
    "ping_interval: 2m\n",
    "ping_interval: 'soon'\n",
    "ping_interval: ''\n",
    "ping_interval: '1h1'\n",
    "ping_interval: '1w'\n",
    "ping_interval: 1.5\n",
    "ping_interval: true\n",
    "write_deadline: '10 s'\n",
    "write_deadline: 5\n",
    "ping_max: two\n",
    # variables
    "p: 4222\nport: $p\n",
    "port: $p\np: 4222\n",
    "authorization { p: b, user: a, password: $p }\n",
    "authorization { p: b }\nhost: $p\n",
    "port: $V_NUMBER\n",
    "port: $V_WORD\n",
    "port: $V_NEXT\n",
    "host: $V_NUMBER\n",
    "max_payload: $V_SIZE\n",
    "ping_interval: $V_QUOTED\n",
    "authorization { users: $V_LIST }\n",
    "port: $V_LOOP\n",
    "\nhost: $V_BROKEN\n",
    "host: $V_EMPTY\n",
    "port: $V_NO_SUCH_THING\n",
    "\n\nhost: '$V_NO_SUCH_THING'\n",
    "x: 1\nport: 4222\n",
    "authorization { x: 1, user: a, password: b }\n",
    # listeners
    "listen: 4222\n",
    "listen: '127.0.0.1:4222'\n",
    "listen: 127.0.0.1:4222\n",
    "listen: here\n",
    "listen: 'here:x'\n",
    "listen: ':4222'\n",
    "listen: '[::1]:4222'\n",
    "listen: '::1:4222'\n",
    "listen: true\n",
    "listen: [a]\n",
    "client_advertise: 'a:1'\n",
    "server_name: 'a b'\n",
    "prot: 4222\n",
    "  prot: 4222\n\tprut: 1\n",
    # authorization
    "authorization: yes\n",
    "authorization { user: a, pass: b, timeout: 1 }\n",
    "authorization { user: a, pass: b, timeout: 0.5 }\n",
    "authorization { user: a, pass: b, timeout: '2s' }\n",
    "authorization { user: a, pass: b, timeout: 1m }\n",
    "authorization { user: a, pass: b, timeout: 'x' }\n",
    "authorization { user: a, pass: b, timeout: true }\n",
    "authorization { user: a, passwort: b }\n",
    "authorization { user: 5, pass: b }\n",
    "authorization { user: a, pass: 456 }\n",
    "authorization { token: t }\n",
    "authorization { token: 5 }\n",
    "authorization { user: a, pass: b, token: t }\n",
    "authorization { user: a, users: [ {user: b} ] }\n",
    "authorization { token: t, users: [ {user: b} ] }\n",
    "authorization { users: {user: a} }\n",
    "authorization { users: [ a ] }\n",
    "authorization {\n users: [\n  {pass: b}\n ]\n}\n",
    USERS % "{user: a}, {user: a}",
    USERS % "{user: a, password: $2a$11$abc}",
    USERS % "{user: a, nonsense: b}",
    USERS % "{user: 5, password: b}",
    USERS % "{user: a, password: 5}",
    USERS % "{nkey: UABC}",
    USERS % "{nkey: 5}",
    USERS % "{user: a, permissions: x}",
    USERS % "{user: a, allowed_connection_types: [FOO]}",
    USERS % "{user: a, allowed_connection_types: [standard, 5]}",
    USERS % "{user: a, allowed_connection_types: 5}",
    USERS % "{user: a, connection_types: WEBSOCKET}",
    "authorization { default_permissions: { publish: 'a', subscribe: ['b', 'c'] }, users: [ {user: a} ] }\n",
    USER % "publish: 'a.>', subscribe: ['b', 'c.*']",
    USER % "publish: {allow: a, deny: [b, c]}",
    USER % "publish: 'a..b'",
    USER % "publish: {allow: 'a..b'}",
    USER % "publish: {deny: ['a', '.b']}",
    USER % "publish: {permit: a}",
    USER % "publish: 5",
    USER % "publish: {allow: 5}",
    USER % "publish: {allow: [5]}",
    USER % "publish: {allow: 'a b'}",
    USER % "publish: 'a b'",
    USER % "subscribe: {allow: 'a b'}",
    USER % "subscribe: {allow: 'a b c'}",
    USER % "subscribe: {allow: 'a..c b'}",
    USER % "subscribe: {allow: 'a >.x'}",
    USER % "pub: a, sub: b",
    USER % "nonsense: a",
    USER % "allow_responses: true",
    USER % "allow_responses: maybe",
    USER % "allow_responses: { max: 5, expires: '1m' }",
    USER % "allow_responses: { max: x }",
    USER % "allow_responses: { expires: 5 }",
    USER % "allow_responses: { expires: soon }",
    USER % "allow_responses: { nonsense: 1 }",
    "no_auth_user: 5\n",
    "no_auth_user: a\n",
    # several at once
    "prot: 1\nhost: 5\nmax_payload: x\nauthorization: yes\nping_interval: 5\n",
    "authorization { users: [ {user: a, x: 1}, {y: 2} ], z: 3 }\n",
)

INCLUDES: Final[tuple[tuple[str, Mapping[str, str]], ...]] = (
    ("include a.conf\n", {"a.conf": "port: 4222\n"}),
    ("include './a.conf'\nhost: $h\n", {"a.conf": "h: here\n"}),
    ("INCLUDE a.conf\n", {"a.conf": "port: x\n"}),
    ("include: a.conf\n", {"a.conf": "port: x\n"}),
    ("include none.conf\n", {}),
    ("\n\ninclude 'sub/none.conf'\n", {}),
    ("include sub/a.conf\n", {"sub/a.conf": "\n include b.conf\n", "sub/b.conf": "\n\n  prot: 1\n"}),
    ("include a.conf\n", {"a.conf": "port: [\n"}),
    ("include a.conf\n", {"a.conf": ""}),
    ("include sub\n", {"sub/a.conf": ""}),
    ("include 5\n", {}),
    ("include\n", {}),
    ("include 'a.conf\n", {"a.conf": ""}),
    ("authorization { include a.conf }\n", {"a.conf": "user: a\npassword: b\n"}),
    ("authorization {\n  include a.conf\n}\n", {"a.conf": "user: a\npassword: 5\n"}),
    ("authorization { include users.conf\n }\n", {"users.conf": "users: [\n {user: a}\n {user: a}\n]\n"}),
    ("a: 1\ninclude a.conf\nport: $a\n", {"a.conf": "a: 2\n"}),
    ("include a.conf; port: 1\n", {"a.conf": "host: h\n"}),
)

# What happens to nats-server after some of the errors that it has reported, and how it shows a map.
_CRASH: Final = "runtime error: invalid memory address or nil pointer dereference"
_ADDRESS: Final = re.compile(r"(got )map\[\w+:0x\w+\]$")

CASES: Final = [(text, {}) for text in TEXTS] + [(text, dict(files)) for text, files in INCLUDES]


def write(folder: Path, text: str, files: Mapping[str, str]) -> None:
    """Make ``c.conf`` and what it includes."""
    for name, content in {"c.conf": text, **files}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content.encode())


def lines(output: str) -> list[str]:
    """The lines of an output that say something to an operator, sorted; without the program's name in front."""
    said = (line for line in output.partition(": ")[2].split("\n") if line and _CRASH not in line)
    return sorted(_ADDRESS.sub(r"\1a map", line) for line in said)


@pytest.mark.parametrize(("text", "files"), CASES, ids=[f"{number}" for number in range(len(CASES))])
def test_verdict(
    text: str, files: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    write(tmp_path, text, files)
    arguments = ["-t", "-c", "c.conf"]
    ours, code = options.test_result(options.load(options.parse_command_line(arguments)))
    real = subprocess.run([*command(REAL), *arguments], capture_output=True, timeout=30, check=False)
    theirs = real.stderr.decode("utf-8", "surrogateescape")
    assert lines(ours) == lines(theirs), text
    assert code == real.returncode
