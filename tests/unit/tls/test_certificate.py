"""Reading certificates: what openssl's bindings wrote into them, we find; anything else is refused."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.tls.certificate import read_certificate, read_pem
from broker.tls.names import subject_text
from tests.certificates import Authority, Pair


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Authority(tmp_path_factory.mktemp("certificates")).issue(
        "some",
        [[("C", "CH")], [("O", "Bücher & Söhne")], [("CN", "x"), ("UID", "7"), ("OU", "y")]],
        hosts=["a.example.com", "127.0.0.1", "*.b.example.com"],
        emails=["a@example.com", "b@example.com"],
        uris=["spiffe://example.com/a"],
        days=10,
    )


def der(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.cert.read_text())


def test_what_is_in_it(pair: Pair) -> None:
    certificate = read_pem(pair.cert.read_text())
    assert certificate.hosts == ("a.example.com", "*.b.example.com")
    assert certificate.emails == ("a@example.com", "b@example.com")
    assert certificate.uris == ("spiffe://example.com/a",)
    assert certificate.pin == pair.pin
    assert abs(certificate.expires - time.time() - 10 * 86400) < 300
    assert [dict(rdn) for rdn in certificate.subject] == [
        {"2.5.4.6": "CH"},
        {"2.5.4.10": "Bücher & Söhne"},
        {"2.5.4.3": "x", "0.9.2342.19200300.100.1.1": "7", "2.5.4.11": "y"},
    ]
    text = subject_text(certificate)
    assert text.endswith(",O=Bücher & Söhne,C=CH")
    assert set(text.split(",")[0].split("+")) == {"CN=x", "UID=7", "OU=y"}


def test_the_first_of_a_chain(pair: Pair, tmp_path: Path) -> None:
    other = Authority(tmp_path).issue("other", [[("CN", "other")]])
    chain = f"noise\n{other.cert.read_text()}\n{pair.cert.read_text()}"
    assert subject_text(read_pem(chain)) == "CN=other"
    assert read_certificate(der(pair)) == read_pem(pair.cert.read_text())


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_no_certificate(text: str) -> None:
    with pytest.raises(ValueError):
        read_pem(text)


def test_every_prefix_is_refused(pair: Pair) -> None:
    whole = der(pair)
    for size in range(len(whole)):
        with pytest.raises(ValueError):
            read_certificate(whole[:size])


@given(changes=st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=3)), min_size=1, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_changed_one_is_read_or_refused(pair: Pair, changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(der(pair))
    for at, new in changes:
        at %= len(data)
        data[at : at + len(new)] = new
    try:
        certificate = read_certificate(bytes(data))
    except ValueError:
        return
    assert len(certificate.pin) == 64 and isinstance(certificate.expires, int)
