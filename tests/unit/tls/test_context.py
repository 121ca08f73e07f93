"""Contexts: made, made anew, and not made of what does not fit together."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from broker.log import Log
from broker.options.sections import TlsCertificate, TlsOptions
from broker.tls import watch
from broker.tls.context import TlsContext, TlsError, build_context, suite_name
from tests.certificates import Authority, Pair


def options(pair: Pair, **more: Any) -> TlsOptions:
    return TlsOptions(cert_file=str(pair.cert), key_file=str(pair.key), **more)


def touch(file: Path) -> None:
    """Make the file look newer, also on a file system with a coarse clock."""
    later = time.time_ns() + 5_000_000_000
    os.utime(file, ns=(later, later))


def test_options_are_put_into_effect(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("a", hosts=["localhost"])
    context = build_context(options(pair))
    assert context.verify_mode is ssl.CERT_NONE
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    strict = build_context(
        options(
            pair,
            verify_and_map=True,
            ca_file=str(authority.file),
            min_version="1.3",
            cipher_suites=["TLS_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
        )
    )
    assert strict.verify_mode is ssl.CERT_REQUIRED
    assert strict.minimum_version is ssl.TLSVersion.TLSv1_3
    names = {cipher["name"] for cipher in strict.get_ciphers() if cipher["protocol"] == "TLSv1.2"}
    assert names == {"ECDHE-RSA-AES128-GCM-SHA256"}
    assert suite_name("ECDHE-RSA-AES128-GCM-SHA256") == "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
    assert suite_name("TLS_AES_128_GCM_SHA256") == "TLS_AES_128_GCM_SHA256"


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, other = authority.issue("one"), authority.issue("other")
    with pytest.raises(TlsError, match="cert_file"):
        build_context(TlsOptions())
    with pytest.raises(TlsError, match="MISMATCH"):
        build_context(TlsOptions(cert_file=str(one.cert), key_file=str(other.key)))
    with pytest.raises(TlsError, match="No such file"):
        build_context(TlsOptions(cert_file=str(tmp_path / "none"), key_file=str(one.key)))
    with pytest.raises(TlsError):
        build_context(options(one, verify=True, ca_file=str(one.key)))


def test_reload(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = TlsContext(options(authority.issue("server", days=5)))
    first, expires = context.context, context.expires
    assert not context.changed()
    pair = authority.issue("server", days=50)
    touch(pair.cert)
    assert context.changed()
    context.reload()
    assert not context.changed()
    assert context.context is not first and context.expires > expires
    second = context.context
    pair.key.write_text("broken")
    assert context.changed()
    with pytest.raises(TlsError):
        context.reload()
    assert context.context is second and context.changed()
    pair.key.unlink()
    assert not context.changed()  # it is probably being replaced


def test_expires_is_the_earliest(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pairs = [authority.issue(name, days=days) for name, days in (("a", 40), ("b", 4), ("c", 50))]
    several = TlsContext(TlsOptions(certs=[TlsCertificate(str(pair.cert), str(pair.key)) for pair in pairs]))
    assert abs(several.expires - time.time() - 4 * 86400) < 300


@pytest.mark.parametrize(
    ("days", "text"),
    [
        (31.0, ""),
        (30.01, ""),
        (29.5, "TLS certificate expires in 29 days, on 1970-01-30"),
        (0.5, "TLS certificate expires in 0 days, on 1970-01-01"),
        (-1.0, "TLS certificate expired on 1969-12-31"),
    ],
)
def test_warning(days: float, text: str) -> None:
    assert watch.expiry_warning(int(days * 86400), 0.0) == text


def test_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.01)
    authority = Authority(tmp_path)
    context = TlsContext(options(authority.issue("server", days=5)))
    seen = ""

    async def until(text: str) -> None:
        nonlocal seen
        while text not in seen:
            await asyncio.sleep(0.005)
            seen += capfd.readouterr().err

    async def run() -> None:
        nonlocal seen
        watching = watch.Watch(context, Log(1), announce=True)
        await until("[WRN] TLS certificate expires in 4 days")
        pair = authority.issue("server", days=90)
        touch(pair.cert)
        await until("[INF] Reloaded: tls certificates")
        pair.cert.write_text("broken")
        await until("[ERR] TLS certificates not reloaded: ")
        authority.issue("server", days=90)
        touch(pair.cert)
        seen = ""
        await until("[INF] Reloaded: tls certificates")
        watching.close()

    asyncio.run(asyncio.wait_for(run(), 20))
    assert seen.count("not reloaded") <= 1  # said once, not with every look
