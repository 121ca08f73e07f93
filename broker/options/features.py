"""What a checked configuration asks for that this server does not do (yet).

Such a configuration is refused at start, not ignored: that could leave an operator with a server that is open,
unencrypted or alone where the file asked for something else. What can be ignored without harm is, with a warning.
"""

from __future__ import annotations

from typing import Final

from broker.options.model import Options

MAX_SENSIBLE_PAYLOAD: Final = 8 * 1024 * 1024

# Field of ``Options`` to what it is called in a message: the key of the option, and its feature.
_UNSUPPORTED: Final = {
    "auth_callout": "auth_callout",
    "operators": "operator (JWT authentication)",
    "trusted_keys": "trusted_keys (JWT authentication)",
    "resolver": "resolver (JWT authentication)",
    "resolver_preload": "resolver_preload (JWT authentication)",
    "default_sentinel": "default_sentinel (JWT authentication)",
    "cluster": "cluster (routes)",
    "gateway": "gateway (superclusters)",
    "leafnodes": "leafnodes",
    "websocket": "websocket",
    "proxy_protocol": "proxy_protocol (PROXY protocol)",
    "trusted_proxies": "proxies (trusted proxies)",
    "proxy_required": "proxy_required (trusted proxies)",
}


def unsupported_features(options: Options) -> list[str]:
    """The options that ask for a feature that is not there, by key."""
    found = [text for field, text in _UNSUPPORTED.items() if getattr(options, field)]
    if options.tls is not None and options.tls.ocsp_peer:
        found.append("ocsp_peer (OCSP)")
    through_proxy = any(user.proxy_required for user in options.users) or any(
        user.proxy_required for user in options.nkeys
    )
    if through_proxy and not options.proxy_required:
        found.append(_UNSUPPORTED["proxy_required"])
    return [*dict.fromkeys(found), *options.foreign]


def start_warnings(options: Options) -> list[str]:
    """What an operator should think about: options that have no effect here, or a bad one."""
    warnings: list[str] = []
    if options.max_payload > MAX_SENSIBLE_PAYLOAD:
        warnings.append(
            f"Maximum payloads over {MAX_SENSIBLE_PAYLOAD / (1 << 20):.2f} MB are generally discouraged "
            "and could lead to poor performance"
        )
    if options.prof_port or options.prof_block_rate:
        warnings.append("Profiling options are ignored: there is no Go runtime to profile")
    return warnings
