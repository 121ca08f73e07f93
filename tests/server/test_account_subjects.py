"""Imports whose subjects are none: the server does not start, and says of each what is wrong with it."""

from __future__ import annotations

from typing import Final

import pytest

from tests.harness import FOUR, REAL, Kind, Raw, start

INVALID: Final = "sublist: invalid subject"
UNAUTHORIZED: Final = "stream import not authorized"
WILDCARD: Final = "stream import prefix can not contain wildcard tokens"
NO_SUBJECTS: Final = ("s..t", ".s", "s.", "s t", r"s\rt", r"s\nt", r"s\tt", "s.>.t", ">.s")
REFUSED: Final = (
    *((f'service: {{account: E, subject: "{one}"}}, to: o{n}', one, INVALID) for n, one in enumerate(NO_SUBJECTS)),
    *((f'service: {{account: E, subject: r{n}}}, to: "{one}"', f"r{n}", INVALID) for n, one in enumerate(NO_SUBJECTS)),
    *((f'stream: {{account: E, subject: "{one}"}}', one, UNAUTHORIZED) for one in NO_SUBJECTS),
    *(
        (f'stream: {{account: E, subject: p{n}}}, prefix: "{one}"', f"p{n}", WILDCARD)
        for n, one in enumerate(("s.>.t", ">.s", "*.s", "s.*", ">"))
    ),
    # Whether it is authorized is asked before its prefix is looked at, and whether it is a subject before either.
    ("stream: {account: N, subject: q}, prefix: '*'", "q", UNAUTHORIZED),
    ('service: {account: N, subject: "q..r"}', "q..r", INVALID),
    ("service: {account: N, subject: q}, to: '.t'", "q", INVALID),
)  # fmt: skip


def importing(*entries: str) -> str:
    """Account I with these imports: from E, which offers everything, or N, which offers nothing."""
    imports = "\n".join(f"{{ {entry} }}" for entry in entries)
    return f"""accounts {{
      E {{ exports: [ {{ service: ">" }}, {{ stream: ">" }}, {{ service: "s..t" }}, {{ stream: "s..t" }} ] }}
      N {{}}
      I {{ imports: [ {imports} ] }}
    }}
    """


def test_refused_at_start(kind: Kind) -> None:
    with pytest.raises(AssertionError) as failure:
        start(kind, importing(*(entry for entry, _, _ in REFUSED)))
    said = str(failure.value)
    for _, subject, why in REFUSED:
        what = "service" if why == INVALID else "stream"
        assert f'Error adding {what} import "{subject}": {why}\n' in said


def test_no_line_of_the_protocol_in_a_name() -> None:
    """nats-server starts, and the importer is sent a line that no server wrote: so we do not."""
    config = """accounts {
      E { users: [ {user: e} ], exports: [ {stream: a} ] }
      I { users: [ {user: i} ], imports: [ {stream: {account: E, subject: a}, to: "b.c 1 0\\r\\n\\r\\n-ERR d"} ] }
    }
    """
    server = start(REAL, config)
    importer = Raw(server.port).hello(user="i").send(b"SUB b.> 1\r\n").expect_pong()
    Raw(server.port).hello(user="e").send(b"PUB a 1\r\nx\r\n").expect_pong().leave()
    importer.expect(b"MSG b.c 1 0\r\n\r\n-ERR d 1 1\r\nx\r\n").leave()
    server.stop()
    with pytest.raises(AssertionError, match='Error adding stream import "a": invalid subject'):
        start(FOUR, config)
