"""Whatever values stand under whatever keys: options come out, or mistakes with places, and never an exception."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

import broker.options
from broker.options import accounts, authorization, foreign, leafnodes, links, tls, websocket
from broker.options.builder import _OPTIONS, _SECTIONS, build_options
from broker.options.effective import effective_text
from broker.options.features import start_warnings, unsupported_features
from broker.options.loading import validate_start
from broker.options.parser import DateTime, Node, parse_text
from broker.options.reload import plan
from broker.options.report import Report

SOURCE = "".join(path.read_text() for path in Path(broker.options.__file__).parent.glob("*.py"))
NAMES = sorted(set(re.findall(r'"([a-z][a-z0-9_]{1,40})"', SOURCE)))
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-2, 300),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.text(max_size=8),
    st.sampled_from(NAMES),
    st.sampled_from(
        [
            *(
                "1s",
                "2m",
                "-1s",
                "a.b",
                "a.>",
                "*",
                "nats://u:p@h:1",
                "ws://h",
                "127.0.0.1:-1",
                ":1",
                "a b",
                "$G",
            ),
            *(
                "MEM",
                "URL(http://a)",
                "auto",
                "{{wildcard(1)}}",
                "50%",
                "http://[",
                "\udcff",
                "",
                "a..b",
                "[::1",
            ),
        ]
    ),
    st.just(DateTime("2020-01-02T03:04:05Z")),
)


def node(value: object) -> Node:
    """A value with a place, and all in it."""
    if isinstance(value, dict):
        value = {key: node(one) for key, one in value.items()}
    elif isinstance(value, list):
        value = [node(one) for one in value]
    return Node(value, 1, 1, "c.conf")  # type: ignore[arg-type]


KEYS = st.one_of(st.sampled_from(NAMES), st.text(max_size=5))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
INSIDE = {
    "authorization": authorization._BLOCK_KEYS,
    "cluster": links._CLUSTER,
    "gateway": links._GATEWAY,
    "leafnodes": leafnodes._LEAFNODES,
    "websocket": websocket._WEBSOCKET,
    "tls": tls._READERS,
    "jetstream": foreign._JETSTREAM,
    "mqtt": foreign._MQTT,
}
TOP = st.builds(
    lambda some, sections: {**some, **sections},
    st.dictionaries(st.sampled_from([*_OPTIONS, *_SECTIONS]), VALUES, max_size=4),
    st.fixed_dictionaries(
        {},
        optional={
            name: st.dictionaries(st.sampled_from(sorted(keys)), VALUES, max_size=4)
            for name, keys in INSIDE.items()
        }
        | {
            "accounts": st.dictionaries(
                st.text("AB$", max_size=2),
                st.dictionaries(st.sampled_from(accounts._ACCOUNT_KEYS), VALUES, max_size=3),
                max_size=2,
            )
        },
    ),
)


@settings(max_examples=150, deadline=None)
@given(TOP, TOP)
def test_any_values(one: dict[str, object], other: dict[str, object]) -> None:
    report = Report()
    first = build_options({key: node(value) for key, value in one.items()}, report)
    second = build_options({key: node(value) for key, value in other.items()}, Report())
    for problem in (*report.errors, *report.warnings):
        assert problem.reason and problem.text() and problem.full_text()
    for options in (first, second):
        assert isinstance(validate_start(options), list)
        assert isinstance(unsupported_features(options) + start_warnings(options), list)
    for change in plan(first, second):
        assert change.text
    assert plan(first, first) == []


@settings(max_examples=100, deadline=None)
@given(TOP)
def test_what_is_right_can_be_written_and_read(one: dict[str, object]) -> None:
    report = Report()
    options = build_options({key: node(value) for key, value in one.items()}, report)
    if report.errors:
        return
    again = Report()
    written = effective_text(options, secrets=True)
    build_options(parse_text(written, "c.conf"), again)
    assert [problem.text() for problem in again.errors] == [], written
