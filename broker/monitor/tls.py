"""HTTPS for monitoring: the certificates of the clients' listener. Nobody is asked for a certificate."""

from __future__ import annotations

import ssl

from broker.options import Options


def server_context(options: Options) -> ssl.SSLContext:
    """Raises OSError or ValueError (ssl.SSLError is one) if the files cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_certificates(context, options)
    if options.tls is not None and options.tls.min_version == "1.3":
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def load_certificates(context: ssl.SSLContext, options: Options) -> None:
    """Show these certificates to whoever connects from now on. Raises like ``server_context``."""
    if options.tls is None or not options.tls.certificates:
        raise ValueError("TLS cert and key required for HTTPS")
    for pair in options.tls.certificates:
        context.load_cert_chain(pair.cert_file, pair.key_file)
