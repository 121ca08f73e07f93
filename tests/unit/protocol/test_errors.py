"""Error texts and reasons."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from broker.protocol import errors
from broker.protocol.errors import ClosedReason

CORE_HEADER = Path(__file__).parents[3] / "csrc" / "core.h"


def test_reasons_are_numbered_from_one_without_gaps() -> None:
    assert [int(reason) for reason in ClosedReason] == list(range(1, 38))
    assert len({reason.text for reason in ClosedReason}) == 37


def test_reasons() -> None:
    assert int(ClosedReason.CLIENT_CLOSED) == 1
    assert ClosedReason(11) is ClosedReason.PROTOCOL_VIOLATION
    assert ClosedReason(5).text == "Slow Consumer (Pending Bytes)"
    assert ClosedReason(37).text == "Proxy Required"
    assert pickle.loads(pickle.dumps(ClosedReason.KICKED)) is ClosedReason.KICKED


@pytest.mark.parametrize("number", [-1, 0, 38])
def test_unknown_reason(number: int) -> None:
    assert errors.reason_text(number) == "Unknown State"


def test_reason_text() -> None:
    assert errors.reason_text(21) == "Server Shutdown"


def test_the_data_plane_uses_the_same_numbers() -> None:
    """The names are shorter there, but every word begins a word of ours, in order."""
    found = re.search(r"enum closed_reason \{.*?\*/(.*?)\};", CORE_HEADER.read_text(), re.DOTALL)
    assert found is not None
    names = [name.split("=")[0].strip() for name in found[1].split(",") if name.strip()]
    assert len(names) >= 17
    for number, name in enumerate(names, 1):
        words = iter(ClosedReason(number).name.split("_"))
        for word in name.split("_"):
            assert any(ours.startswith(word) for ours in words), (name, ClosedReason(number))


def test_permission_texts() -> None:
    assert errors.publish_violation("foo") == 'Permissions Violation for Publish to "foo"'
    assert errors.reply_violation("_R_.x") == 'Permissions Violation for Publish with Reply of "_R_.x"'
    assert errors.subscription_violation("foo") == 'Permissions Violation for Subscription to "foo"'
    assert errors.subscription_violation("foo", "q") == (
        'Permissions Violation for Subscription to "foo" using queue "q"'
    )
    assert (
        errors.tokens_violation("a.b") == 'Permissions Violation for Subscription to "a.b", too many tokens'
    )
    assert errors.subscription_revoked("a", "7") == 'Permissions Violation for Subscription to "a" (sid "7")'
    assert errors.publish_violation('a"b\t') == 'Permissions Violation for Publish to "a\\"b\\t"'
