"""A listener's TLS contexts: made from its options, and made anew when the files have changed.

The handshake and the records are OpenSSL's, by the standard library. Where several certificates are configured, the one
whose names fit what the client asks for is used, else the first.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.options.sections import TlsOptions
from broker.tls import openssl
from broker.tls.certificate import Certificate, read_pem

# Go's names to OpenSSL's, for TLS 1.2. Those of 1.3 cannot be chosen, there as here.
_CIPHERS: Final = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_RSA_WITH_RC4_128_SHA": "RC4-SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA": "DES-CBC3-SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256": "AES128-SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA": "ECDHE-ECDSA-RC4-SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA": "ECDHE-RSA-RC4-SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA": "ECDHE-RSA-DES-CBC3-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256": "ECDHE-ECDSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256": "ECDHE-RSA-AES128-SHA256",
}
_SUITES: Final = {name: suite for suite, name in _CIPHERS.items()}
_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class TlsError(Exception):
    """The options cannot be put into effect; the text says why."""


@dataclass(slots=True, frozen=True)
class _Loaded:
    context: ssl.SSLContext
    certificates: list[Certificate]
    stamps: tuple[tuple[str, int, int, int], ...]


class TlsContext:
    """The contexts of one listener."""

    __slots__ = ("_loaded", "options")

    def __init__(self, options: TlsOptions) -> None:
        """Raises TlsError."""
        self.options = options
        self._loaded = _load(options)

    @property
    def context(self) -> ssl.SSLContext:
        """For the next connection."""
        return self._loaded.context

    @property
    def expires(self) -> int:
        """When the first of the certificates ends, in seconds since 1970."""
        return min(certificate.expires for certificate in self._loaded.certificates)

    def changed(self) -> bool:
        """Whether any of the files is another one than at the last (re)load. A missing one counts as not changed yet."""
        try:
            return _stamps(self.options) != self._loaded.stamps
        except OSError:
            return False

    def reload(self) -> None:
        """Read the files again. Raises TlsError, and goes on with what was read before."""
        self._loaded = _load(self.options)


def build_context(options: TlsOptions) -> ssl.SSLContext:
    """The context of a listener with these options. Raises TlsError."""
    return _load(options).context


def suite_name(cipher: str) -> str:
    """How nats-server calls OpenSSL's ``cipher``."""
    return _SUITES.get(cipher, cipher)


def _files(options: TlsOptions) -> list[str]:
    files = [file for pair in options.certificates for file in (pair.cert_file, pair.key_file)]
    return [*files, options.ca_file] if options.ca_file else files


def _stamps(options: TlsOptions) -> tuple[tuple[str, int, int, int], ...]:
    stats = [(file, os.stat(file)) for file in _files(options)]
    return tuple((file, stat.st_ino, stat.st_mtime_ns, stat.st_size) for file, stat in stats)


def _load(options: TlsOptions) -> _Loaded:
    if not options.certificates:
        raise TlsError("TLS needs a certificate: 'cert_file' and 'key_file'")
    try:
        stamps = _stamps(options)
        contexts = [_context(options, pair.cert_file, pair.key_file) for pair in options.certificates]
        certificates = [
            read_pem(Path(pair.cert_file).read_text(encoding="utf-8", errors="replace"))
            for pair in options.certificates
        ]
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise TlsError(f"error loading the TLS configuration: {error}") from error
    if len(contexts) > 1:
        _choose_by_name(contexts, certificates)
    return _Loaded(contexts[0], certificates, stamps)


def _context(options: TlsOptions, cert_file: str, key_file: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[options.min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.options &= (
        ~ssl.OP_CIPHER_SERVER_PREFERENCE
    )  # all are good: the client knows which one is cheap for it
    context.num_tickets = 1
    context.load_cert_chain(cert_file, key_file)
    if options.cipher_suites:
        chosen = [_CIPHERS[name] for name in options.cipher_suites if name in _CIPHERS]
        if chosen:
            weak = "@SECLEVEL=0:" if options.allow_insecure_cipher_suites else ""
            context.set_ciphers(weak + ":".join(chosen))
    if options.curve_preferences:
        openssl.set_curves(context, options.curve_preferences)
    if options.verify or options.verify_and_map:
        context.verify_mode = ssl.CERT_REQUIRED
        if options.ca_file:
            context.load_verify_locations(options.ca_file)
        else:
            context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    return context


def _choose_by_name(contexts: list[ssl.SSLContext], certificates: list[Certificate]) -> None:
    named = [
        (host.lower(), context)
        for context, certificate in zip(contexts, certificates, strict=True)
        for host in certificate.hosts
    ]

    def choose(connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        wanted = (name or "").lower().rstrip(".")
        parent = "*." + wanted.partition(".")[2]
        for host, context in named:
            if host in (wanted, parent):
                connection.context = context
                return

    contexts[0].sni_callback = choose
