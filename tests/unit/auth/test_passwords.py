"""Plain and hashed passwords."""

from __future__ import annotations

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.auth import passwords
from broker.auth.passwords import verify_bcrypt

COST = 4


def hashed(password: bytes, prefix: bytes = b"2a") -> bytes:
    return bcrypt.hashpw(password, bcrypt.gensalt(COST, prefix=prefix))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$2a$11$abc", True),
        ("$2b$04$", True),
        ("$2x$10$abc", True),
        ("$2y$10$abc\n", True),
        ("$2c$10$abc", False),
        ("$2$10$abc", False),
        ("$2a$1$abc", False),
        ("$2a$\u0661\u0661$abc", False),
        ("x$2a$11$abc", False),
        ("", False),
    ],
)
def test_is_bcrypt(text: str, expected: bool) -> None:
    assert passwords.is_bcrypt(text) is expected


@given(st.text(), st.text())
def test_same(one: str, other: str) -> None:
    assert passwords.same(one, one)
    assert passwords.same(one, other) is (one == other)


def test_texts_that_are_not_utf8_are_compared_all_the_same() -> None:
    assert passwords.same("\udcff", "\udcff")
    assert not passwords.same("\udcff", "\ufffd")


@pytest.mark.parametrize("letter", ["a", "b", "x", "y"])
def test_verify(letter: str) -> None:
    hash = hashed(b"secret").replace(b"$2a$", f"$2{letter}$".encode())
    assert verify_bcrypt(hash, b"secret")
    assert not verify_bcrypt(hash, b"Secret")
    assert not verify_bcrypt(hash, b"")
    assert not verify_bcrypt(hash, hash)


def test_only_72_bytes_of_a_password_count() -> None:
    hash = hashed(b"x" * 72)
    assert verify_bcrypt(hash, b"x" * 72)
    assert verify_bcrypt(hash, b"x" * 80)
    assert verify_bcrypt(hash, b"x" * 72 + b"y" * 4000)
    assert not verify_bcrypt(hash, b"x" * 71)


def test_a_zero_byte_does_not_end_a_password() -> None:
    assert not verify_bcrypt(hashed(b"a\0b"), b"a\0c")


def test_bytes_after_a_hash_do_not_count() -> None:
    assert verify_bcrypt(hashed(b"secret") + b" \n", b"secret")


def test_a_damaged_hash_fits_no_password() -> None:
    hash = hashed(b"secret")
    for length in range(len(hash)):
        assert not verify_bcrypt(hash[:length], b"secret")
    for bad in (
        hash.replace(b"$04$", b"$03$"),
        hash.replace(b"$04$", b"$32$"),
        hash.replace(b"$04$", b"$xx$"),
    ):
        assert not verify_bcrypt(bad, b"secret")


@given(st.binary(max_size=60).filter(lambda hash: not hash.startswith(b"$2")), st.binary(max_size=100))
def test_verify_never_raises(hash: bytes, password: bytes) -> None:
    assert not verify_bcrypt(hash, password)
