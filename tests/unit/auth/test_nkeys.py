"""NKeys against keys made by the reference implementation, and against text that is no key."""

from __future__ import annotations

import base64
import binascii
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.auth import nkeys
from broker.auth.nkeys import NkeyError, Prefix

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "nkeys.json").read_text())
KEYS = VECTORS["keys"]
USER = KEYS["user_a"]

raw_keys = st.binary(min_size=32, max_size=32)
prefixes = st.sampled_from(Prefix)


def sealed(data: bytes) -> str:
    """Any bytes with a correct checksum, as text."""
    data += binascii.crc_hqx(data, 0).to_bytes(2, "little")
    return base64.b32encode(data).decode().rstrip("=")


def test_the_checksum_is_crc16_xmodem() -> None:
    for text, value in VECTORS["crc16_xmodem"].items():
        assert binascii.crc_hqx(text.encode(), 0) == int(value, 16)


@pytest.mark.parametrize("name", KEYS)
def test_known_keys(name: str) -> None:
    key = KEYS[name]
    pair = nkeys.from_seed(key["seed"])
    assert pair.seed.hex() == key["raw_seed_hex"]
    assert pair.public == key["public"]
    assert pair.encoded_seed() == key["seed"]
    assert nkeys.decode(key["public"], pair.prefix) == (pair.prefix, bytes.fromhex(key["raw_public_hex"]))


@pytest.mark.parametrize("case", VECTORS["nonce_signing"], ids=lambda case: case["key"])
def test_known_signatures(case: dict[str, str]) -> None:
    pair = nkeys.from_seed(KEYS[case["key"]]["seed"])
    signature = nkeys.decode_signature(case["sig_base64url"])
    assert signature == pair.sign(case["nonce"].encode())
    _, raw = nkeys.decode(pair.public)
    assert nkeys.verify(raw, case["nonce"].encode(), signature)
    assert not nkeys.verify(raw, case["nonce"].encode() + b"x", signature)


@pytest.mark.parametrize("prefix", Prefix)
def test_generate(prefix: Prefix) -> None:
    pair = nkeys.generate(prefix)
    letter = {"ACCOUNT": "A", "CLUSTER": "C", "SERVER": "N", "OPERATOR": "O", "USER": "U", "CURVE": "X"}
    assert pair.public[0] == letter[prefix.name]
    assert pair.encoded_seed()[:2] == "S" + letter[prefix.name]
    assert nkeys.from_seed(pair.encoded_seed()) == pair
    assert nkeys.generate(prefix) != pair


def test_sign_and_verify() -> None:
    pair, other = nkeys.generate(Prefix.USER), nkeys.generate(Prefix.USER)
    signature = pair.sign(b"data")
    assert len(signature) == nkeys.SIGNATURE_BYTES
    _, raw = nkeys.decode(pair.public)
    assert nkeys.verify(raw, b"data", signature)
    assert not nkeys.verify(nkeys.decode(other.public)[1], b"data", signature)
    assert not nkeys.verify(raw, b"data", bytes(64))
    assert not nkeys.verify(raw, b"data", signature[:-1])
    assert not nkeys.verify(raw, b"data", b"")
    assert not nkeys.verify(b"", b"data", signature)


def test_a_curve_key_cannot_sign() -> None:
    with pytest.raises(NkeyError, match="curve"):
        nkeys.generate(Prefix.CURVE).sign(b"data")


def test_a_key_pair_does_not_show_its_seed() -> None:
    pair = nkeys.generate(Prefix.USER)
    assert pair.public in repr(pair)
    assert repr(pair.seed) not in repr(pair)


@given(prefixes, raw_keys)
def test_public_round_trip(prefix: Prefix, raw: bytes) -> None:
    text = nkeys.encode(prefix, raw)
    assert len(text) == nkeys.PUBLIC_CHARACTERS
    assert nkeys.decode(text) == (prefix, raw)
    assert nkeys.decode(text.encode(), prefix) == (prefix, raw)


@given(prefixes, raw_keys)
def test_seed_round_trip(prefix: Prefix, raw: bytes) -> None:
    text = nkeys.encode_seed(prefix, raw)
    assert len(text) == nkeys.SEED_CHARACTERS
    assert nkeys.decode_seed(text) == (prefix, raw)


@given(prefixes, raw_keys, st.integers(0, 57), st.characters())
def test_one_changed_character_is_found(prefix: Prefix, raw: bytes, at: int, char: str) -> None:
    for text, decode in (
        (nkeys.encode(prefix, raw), nkeys.decode),
        (nkeys.encode_seed(prefix, raw), nkeys.decode_seed),
    ):
        place = at % len(text)
        if text[place] != char:
            with pytest.raises(NkeyError):
                decode(text[:place] + char + text[place + 1 :])


@given(st.one_of(st.text(max_size=80), st.binary(max_size=80)))
def test_arbitrary_text_is_refused_cleanly(text: str | bytes) -> None:
    assert not nkeys.is_public(text)
    with pytest.raises(NkeyError):
        nkeys.decode_seed(text)


@given(st.binary(max_size=40))
def test_a_correct_checksum_does_not_make_a_key(data: bytes) -> None:
    text = sealed(data)
    try:
        prefix, raw = nkeys.decode(text)
        assert nkeys.encode(prefix, raw) == text
    except NkeyError:
        assert len(data) != 33 or data[0] not in list(Prefix)
    try:
        prefix, raw = nkeys.decode_seed(text)
        assert nkeys.encode_seed(prefix, raw) == text
    except NkeyError:
        assert (
            len(data) != 34
            or data[0] & 0xF8 != 0x90
            or data[1] & 7
            or data[1] >> 3 | (data[0] & 7) << 5 not in list(Prefix)
        )


@pytest.mark.parametrize("length", range(61))
def test_truncated_keys_are_refused(length: int) -> None:
    public, seed = USER["public"], USER["seed"]
    for text in (
        public[:length],
        public[-length:] if length else "",
        "B" * length,
        "=" * length,
        "\0" * length,
    ):
        assert nkeys.is_public(text) == (text == public)
    for text in (seed[:length], seed[-length:] if length else "", "S" * length):
        if text != seed:
            with pytest.raises(NkeyError):
                nkeys.decode_seed(text)


def test_there_is_one_spelling() -> None:
    public, seed = USER["public"], USER["seed"]
    for text in (public.lower(), public + "=", public + "\n", " " + public, public[:-1] + "\u0130"):
        assert not nkeys.is_public(text)
    # The last character of a seed has two bits that are in no byte.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    number = alphabet.index(seed[-1])
    for spare in range(1, 4):
        with pytest.raises(NkeyError, match="invalid encoded key"):
            nkeys.decode_seed(seed[:-1] + alphabet[number + spare])


def test_kinds_are_told_apart() -> None:
    assert nkeys.is_public(USER["public"], Prefix.USER)
    assert not nkeys.is_public(USER["public"], Prefix.ACCOUNT)
    assert not nkeys.is_public(USER["seed"])
    with pytest.raises(NkeyError, match="invalid prefix byte"):
        nkeys.decode(USER["public"], Prefix.SERVER)
    with pytest.raises(NkeyError, match="invalid public key"):
        nkeys.decode(sealed(bytes((25 << 3,)) + bytes(32)))
    with pytest.raises(NkeyError, match="invalid seed"):
        nkeys.decode_seed(sealed(bytes((0x90 | 6, (200 & 31) << 3)) + bytes(32)))
    with pytest.raises(NkeyError, match="invalid checksum"):
        nkeys.decode("A" * 55 + "B")


@pytest.mark.parametrize("length", [0, 31, 33])
def test_only_32_bytes_make_a_key(length: int) -> None:
    with pytest.raises(NkeyError):
        nkeys.encode(Prefix.USER, bytes(length))
    with pytest.raises(NkeyError):
        nkeys.encode_seed(Prefix.USER, bytes(length))


@given(st.binary(max_size=70))
def test_signatures_come_in_two_spellings(data: bytes) -> None:
    assert nkeys.decode_signature(base64.urlsafe_b64encode(data).decode().rstrip("=")) == data
    assert nkeys.decode_signature(base64.b64encode(data).decode()) == data


@pytest.mark.parametrize("text", ["A", "AA=", "A===", "AAA+AA", "-_+/", "AA\u00e9A", "AA AA", "A-=="])
def test_malformed_signatures(text: str) -> None:
    assert nkeys.decode_signature(text) is None


@given(st.text())
def test_any_text_may_come_as_a_signature(text: str) -> None:
    nkeys.decode_signature(text)


def test_libraries_are_loaded_when_they_are_needed() -> None:
    code = "import sys, broker.auth; sys.exit('nacl' in sys.modules or 'bcrypt' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
