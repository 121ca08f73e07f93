"""Flags that change a part of a section: those of TLS, of the cluster, and of JetStream."""

from __future__ import annotations

from dataclasses import replace

from broker.options.command_line import Command
from broker.options.gotext import GoError, parse_int, split_host_port
from broker.options.model import Options
from broker.options.schema import parse_url
from broker.options.secret import Secret
from broker.options.sections import ClusterOptions, TlsOptions


def apply_flags(command: Command, options: Options) -> list[str]:
    """Change ``options`` as the flags of sections say. Returns what is wrong with them."""
    if command.jetstream is not None:
        options.foreign = [feature for feature in options.foreign if feature != "jetstream"]
        if command.jetstream:
            options.foreign.append("jetstream")
    errors = [_apply_tls(command.tls_flags, options), _apply_cluster(command.cluster_flags, options)]
    return [error for error in errors if error]


def _apply_tls(flags: dict[str, str | int | bool], options: Options) -> str:
    """``--tls=false`` ends TLS; any other of the flags wants a certificate and a key. Returns what is wrong."""
    if not flags:
        return ""
    if flags.get("tls") is False:
        options.tls = None
        return ""
    cert, key = str(flags.get("tlscert", "")), str(flags.get("tlskey", ""))
    if not cert:
        return "TLS Server certificate must be present and valid"
    if not key:
        return "TLS Server private key must be present and valid"
    # What concerns the certificates is replaced; what the file says about handshakes stays.
    options.tls = replace(
        options.tls or TlsOptions(),
        cert_file=cert,
        key_file=key,
        ca_file=str(flags.get("tlscacert", "")),
        verify=bool(flags.get("tlsverify", False)),
        certs=[],
        cipher_suites=[],
        curve_preferences=[],
        min_version="1.2",
    )
    from broker.options.tls import wrong_files

    return wrong_files(options.tls)


def _apply_cluster(flags: dict[str, str | int | bool], options: Options) -> str:
    if not flags:
        return ""
    cluster = options.cluster or ClusterOptions()
    if "listen" in flags:
        wrong = _listen(str(flags["listen"]), cluster)
        if wrong:
            return wrong
    for name in ("name", "advertise", "no_advertise", "connect_retries"):
        if name in flags:
            setattr(cluster, name, flags[name])
    if " " in cluster.name:
        return "cluster name cannot contain spaces"
    if "routes" in flags:
        texts = [text.strip() for text in str(flags["routes"]).split(",") if text.strip()]
        urls = [parse_url(text) for text in texts]
        cluster.routes = [url for url in urls if url is not None]
        if len(cluster.routes) < len(texts):
            return "invalid route url"
        if cluster.routes and not cluster.port and not cluster.host:
            return "solicited routes require cluster capabilities, e.g. --cluster"
    if cluster != ClusterOptions():
        options.cluster = cluster
    return ""


def _listen(text: str, cluster: ClusterOptions) -> str:
    """Set the listener of ``cluster`` to an address such as ``nats://name:password@host:port``; empty ends it."""
    if not text:
        cluster.port = 0
        return ""
    any_port = text.endswith(":-1")
    url = parse_url(text.removesuffix("-1") + "0" if any_port else text)
    if url is None:
        return f'parse "{text}": invalid cluster address'
    place = text.partition("://")[2].rpartition("@")[2].partition("/")[0]
    try:
        cluster.host, port = split_host_port(place)
        cluster.port = -1 if any_port else parse_int(port)
    except GoError as error:
        return str(error)
    if url.username and url.password is None:
        return "expected cluster password to be set"
    cluster.username = url.username
    cluster.password = Secret(url.password.reveal()) if url.password is not None else None
    return ""
