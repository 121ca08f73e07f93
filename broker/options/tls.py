"""The ``tls`` block of a listener or of a link, and the check that its files can be used.

Only a configuration that has such a block loads this module, and with it Python's ``ssl``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from broker.options import schema
from broker.options.gotext import GoError, parse_duration, quote
from broker.options.parser import DateTime, Node
from broker.options.report import NANOSECONDS, Report, show, type_name
from broker.options.sections import HANDSHAKE_FIRST_FALLBACK, TlsCertificate, TlsOptions

# Go's names of cipher suites.
SECURE_CIPHERS: Final = frozenset(
    (
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    )
)
INSECURE_CIPHERS: Final = frozenset(
    (
        "TLS_RSA_WITH_RC4_128_SHA",
        "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
        "TLS_RSA_WITH_AES_128_CBC_SHA",
        "TLS_RSA_WITH_AES_256_CBC_SHA",
        "TLS_RSA_WITH_AES_128_CBC_SHA256",
        "TLS_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
        "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
        "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    )
)
CURVES: Final = ("X25519MLKEM768", "X25519", "CurveP256", "CurveP384", "CurveP521")

_FILES: Final = ("cert_file", "key_file", "ca_file")
_BOOLEANS: Final = ("insecure", "verify", "verify_and_map", "allow_insecure_cipher_suites")
_CERT_STORES: Final = ("windowscurrentuser", "windowslocalmachine")
_CERT_MATCHES: Final = ("issuer", "subject", "thumbprint")
_OCSP_SECONDS: Final = ("allowed_clockskew", "ca_timeout", "cache_ttl_when_next_update_unset")
_OCSP_BOOLEANS: Final = ("verify", "warn_only", "unknown_is_good", "allow_when_ca_unreachable")
_PIN: Final = re.compile(r"[a-f0-9]{64}")
_OLD_VERSIONS: Final = {"1.0": "TLS 1.0", "1.1": "TLS 1.1"}


def read_tls(node: Node, report: Report, listener: bool = True) -> TlsOptions | None:
    """The block at ``node``, with its files checked; None after reporting what is wrong with it.

    ``listener`` says whether it belongs to a listener for clients rather than to a link between servers.
    """
    items = schema.section(
        node, report, "interface conversion: interface {} is {T}, not map[string]interface {}"
    )
    if items is None:
        return None
    before = len(report.errors)
    tls = TlsOptions()
    for name, item in items.items():
        _read_item(name, item, tls, listener, report)
    if tls.certs and tls.cert_file:
        report.error(node, "error parsing tls config, cannot combine 'cert_file' option with 'certs' option")
    insecure = [cipher for cipher in tls.cipher_suites if cipher in INSECURE_CIPHERS]
    if insecure and not tls.allow_insecure_cipher_suites:
        report.error(
            node,
            "insecure cipher suites configured without 'allow_insecure_cipher_suites' option set: "
            + ", ".join(insecure),
        )
    if len(report.errors) == before:
        wrong = wrong_files(tls)
        if wrong:
            report.error(node, wrong)
    return tls if len(report.errors) == before else None


def _read_item(name: str, node: Node, tls: TlsOptions, listener: bool, report: Report) -> None:
    key = name.lower()
    if key in _FILES:
        _set(tls, key, node, report, str, "filename")
    elif key in _BOOLEANS:
        _set(tls, key, node, report, bool, "a boolean")
    elif key == "verify_cert_and_check_known_urls":
        _set(tls, key, node, report, bool, "a boolean")
        if tls.verify_cert_and_check_known_urls and listener:
            report.error(node, "verify_cert_and_check_known_urls not supported in this context")
    elif key in _READERS:
        schema.read_item(name, node, tls, _READERS[key], report)
    else:
        known = (*_FILES, *_BOOLEANS, *_READERS, "verify_cert_and_check_known_urls")
        report.unknown_field(name, node, known, "error parsing tls config, unknown field {}", variable=False)


def _set(tls: TlsOptions, key: str, node: Node, report: Report, wanted: type, called: str) -> None:
    if isinstance(node.value, wanted):
        setattr(tls, key, node.value)
    else:
        report.error(node, f"error parsing tls config, expected '{key}' to be {called}")


def _names(label: str, node: Node, report: Report, known: Iterable[str], unknown: str) -> list[str] | None:
    """A list of names, each of which must be known."""
    if not isinstance(node.value, list):
        report.wrong_type(node, list)
        return None
    if not node.value:
        report.error(node, f"error parsing tls config, '{label}' cannot be empty")
    names: list[str] = []
    for item in node.value:
        if not isinstance(item.value, str):
            report.wrong_type(item, str)
        elif item.value not in known:
            report.error(item, f"{unknown} {item.value}")
        else:
            names.append(item.value)
    return names


def _cipher_suites(_name: str, node: Node, report: Report) -> list[str] | None:
    return _names("cipher_suites", node, report, SECURE_CIPHERS | INSECURE_CIPHERS, "unrecognized cipher")


def _curves(_name: str, node: Node, report: Report) -> list[str] | None:
    return _names("curve_preferences", node, report, CURVES, "unrecognized curve preference")


def _rate(_name: str, node: Node, report: Report) -> int | None:
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        return node.value
    report.error(node, "error parsing tls config, 'connection_rate_limit' wrong type")
    return None


def _pinned_certs(_name: str, node: Node, report: Report) -> frozenset[str] | None:
    what = "hex-encoded sha256 of DER encoded SubjectPublicKeyInfo"
    if not isinstance(node.value, list):
        report.error(node, f"error parsing tls config, expected 'pinned_certs' to be a list of {what}")
        return None
    pins: set[str] = set()
    for item in node.value:
        if not isinstance(item.value, str):
            report.wrong_type(item, str)
            continue
        pin = item.value.lower()
        if _PIN.fullmatch(pin) is None:
            report.error(
                item, f"error parsing tls config, 'pinned_certs' key {pin} does not look like {what}"
            )
        pins.add(pin)
    return frozenset(pins)


def _handshake_first(name: str, node: Node, report: Report) -> dict[str, bool | float] | None:
    """A boolean, ``auto``, or how long to wait for the peer before INFO is sent in the clear after all."""
    first, fallback = True, 0.0
    if isinstance(node.value, bool):
        first = node.value
    elif not isinstance(node.value, str):
        kind = type_name(node.value)
        report.error(node, f"field {quote(name)} should be a boolean or a string, got {kind}")
        return None
    else:
        match node.value.lower():
            case "true" | "on":
                pass
            case "false" | "off":
                first = False
            case "auto" | "auto_fallback":
                fallback = HANDSHAKE_FIRST_FALLBACK
            case _:
                try:
                    fallback = parse_duration(node.value) / NANOSECONDS
                except GoError:
                    report.error(node, f"field {quote(name)}'s value {quote(node.value)} is invalid")
                    return None
    return {"handshake_first": first, "handshake_first_fallback": fallback}


def _certs(_name: str, node: Node, report: Report) -> list[TlsCertificate]:
    unsupported = "error parsing certificates config: unsupported type {T}"
    pairs: list[TlsCertificate] = []
    # nats-server names the type of the whole block here.
    for entry in schema.entries(node, report, unsupported.replace("{T}", "map[string]interface {}")) or ():
        files = {"cert_file": "", "key_file": ""}
        last = entry
        for key, last in (schema.section(entry, report, unsupported) or {}).items():
            if not isinstance(last.value, str):
                report.error(last, unsupported.replace("{T}", type_name(last.value)))
            elif key in files:
                files[key] = last.value
            else:
                reason = "error parsing tls certs config, unknown field {}"
                report.unknown_field(key, last, files, reason, variable=False)
        if isinstance(entry.value, dict) and "" in files.values():
            report.error(
                last,
                "error parsing certificates config: both 'cert_file' and 'cert_key' options are required",
            )
        pairs.append(TlsCertificate(files["cert_file"], files["key_file"]))
    return pairs


def _min_version(_name: str, node: Node, report: Report) -> str | None:
    value = node.value
    if not isinstance(value, str):
        shown = value.text if isinstance(value, DateTime) else show(value)
        report.error(node, f"error parsing tls config: 'min_version' wrong type: {shown}")
    elif value in ("1.2", "1.3"):
        return value
    elif value in _OLD_VERSIONS:
        report.error(node, f"error parsing tls config: unsupported TLS version: {_OLD_VERSIONS[value]}")
    else:
        report.error(node, f"error parsing tls config: unknown version: {value}")
    return None


def _cert_store(_name: str, node: Node, report: Report) -> None:
    """The store of another operating system."""
    if not isinstance(node.value, str) or not node.value:
        report.error(node, "expected 'cert_store' to be a valid non-empty string")
    elif node.value.lower() in _CERT_STORES:
        report.error(node, "cert_store not compatible with current operating system")
    else:
        report.error(node, "cert store type not implemented")


def _cert_match(name: str, node: Node, report: Report) -> None:
    """Without a store there is nothing to find in it."""
    if not isinstance(node.value, str) or not node.value:
        report.error(node, f"expected '{name.lower()}' to be a valid non-empty string")
    elif name.lower() == "cert_match_by" and node.value.lower() not in _CERT_MATCHES:
        report.error(node, "cert match by type not implemented")


def _ca_certs_match(_name: str, node: Node, report: Report) -> None:
    if isinstance(node.value, list) and not all(isinstance(item.value, str) for item in node.value):
        reason = "unsupported type *conf.token where string is expected"
        report.error(node, f"error parsing ca_cert_match: {reason}")


def _cert_match_skip_invalid(_name: str, node: Node, report: Report) -> None:
    if not isinstance(node.value, bool):
        report.error(node, "expected 'cert_match_skip_invalid' to be a boolean")


def _ocsp_peer(_name: str, node: Node, report: Report) -> bool:
    """Whether the certificates of peers are to be asked about; a map is for what happens then."""
    if isinstance(node.value, bool):
        return node.value
    if not isinstance(node.value, dict):
        # nats-server names the type of the whole block here.
        report.error(node, "error parsing ocsp peer config: unsupported type map[string]interface {}")
        return False
    enabled = False
    for key, item in node.value.items():
        name, value = key.lower(), item.value
        if name in _OCSP_BOOLEANS and isinstance(value, bool):
            enabled = value if name == "verify" else enabled
        elif name not in _OCSP_SECONDS:
            reason = f"error parsing tls peer config, unknown field [{quote(key)}]"
            report.error(node, f"{item.source()}: {reason}")
        elif isinstance(value, bool) or not isinstance(value, int | float | str):
            reason = "error parsing tls peer config, conversion error: unexpected type"
            report.error(node, f"{item.source()}: {reason}")
    return enabled


_READERS: Final[dict[str, tuple[str, schema.Reader]]] = {
    "cipher_suites": ("cipher_suites", _cipher_suites),
    "curve_preferences": ("curve_preferences", _curves),
    "timeout": ("timeout", schema.seconds("tls")),
    "connection_rate_limit": ("connection_rate_limit", _rate),
    "pinned_certs": ("pinned_certs", _pinned_certs),
    "certs": ("certs", _certs),
    "certificates": ("certs", _certs),
    "min_version": ("min_version", _min_version),
    "cert_store": ("", _cert_store),
    "cert_match_by": ("", _cert_match),
    "cert_match": ("", _cert_match),
    "ca_certs_match": ("", _ca_certs_match),
    "cert_match_skip_invalid": ("", _cert_match_skip_invalid),
    "ocsp_peer": ("ocsp_peer", _ocsp_peer),
    **schema.keys(schema.SEVERAL, _handshake_first, "handshake_first", "first", "immediate"),
}


# -- files ----------------------------------------------------------------------------------------------------------


def wrong_files(tls: TlsOptions) -> str:
    """Why the files of ``tls`` can not be used, in nats-server's words; empty if they can."""
    if tls.cert_file and not tls.key_file:
        return "missing 'key_file' in TLS configuration"
    if tls.key_file and not tls.cert_file:
        return "missing 'cert_file' in TLS configuration"
    for number, pair in enumerate(tls.certificates, 1):
        wrong = _wrong_pair(pair)
        if wrong:
            which = f" {number}/{len(tls.certs)}" if tls.certs else ""
            return f"error parsing X509 certificate/key pair{which}: {wrong}"
    return _wrong_ca(tls.ca_file) if tls.ca_file else ""


def _wrong_pair(pair: TlsCertificate) -> str:
    import ssl

    for path, kind in ((pair.cert_file, "certificate"), (pair.key_file, "key")):
        text, wrong = _read(path)
        if wrong:
            return wrong
        if "-----BEGIN " not in text:
            return f"tls: failed to find any PEM data in {kind} input"
    try:
        # A password is never asked for: an encrypted key is one that can not be used.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            pair.cert_file, pair.key_file, password=lambda: b""
        )
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return "tls: private key does not match public key"
        if error.reason == "KEY_TYPE_MISMATCH":
            return "tls: private key type does not match public key type"
        return f"tls: {error.reason or error}"
    except (OSError, ValueError) as error:
        return f"tls: {error}"
    return ""


def _wrong_ca(path: str) -> str:
    import ssl

    _, wrong = _read(path)
    if wrong:
        return wrong
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(path)
    except (OSError, ValueError):
        return "failed to parse root ca certificate"
    return ""


def _read(path: str) -> tuple[str, str]:
    """(the text of a file, why it can not be read)."""
    try:
        with open(path, encoding="latin-1") as file:
            return file.read(), ""
    except IsADirectoryError:
        return "", f"read {path}: is a directory"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "invalid argument"
        return "", f"open {path}: {reason[:1].lower()}{reason[1:]}"
