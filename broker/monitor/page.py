"""The live page at `/`: one document with its style and its script inside, for people.

It asks for nothing from elsewhere, and its Content-Security-Policy lets it do nothing else: the only style and script that
may be used are those that stand in it, named by their hashes, and it may speak with this server alone. All that comes
from clients (names, accounts) is put in as text.
"""

from __future__ import annotations

import base64
import hashlib
import html as markup
from functools import cache
from pathlib import Path
from typing import Final

from broker.monitor.http import Headers
from broker.monitor.state import Server

_LINKS: Final = (
    ("varz", "General"),
    ("connz", "Connections"),
    ("subsz", "Subscriptions"),
    ("accountz", "Accounts"),
    ("accstatz", "Account statistics"),
    ("routez", "Routes"),
    ("gatewayz", "Gateways"),
    ("leafz", "Leaf nodes"),
    ("jsz", "JetStream"),
    ("healthz", "Health"),
    ("processz", "Processes"),
    ("metrics", "Metrics"),
)


@cache
def _document() -> str:
    return Path(__file__).with_name("page.html").read_text("utf-8")


def _inside(tag: str) -> str:
    return _document().partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]


def _hash(tag: str) -> str:
    digest = hashlib.sha256(_inside(tag).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@cache
def _policy() -> str:
    return (
        f"default-src 'none'; script-src {_hash('script')}; style-src {_hash('style')}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def headers() -> Headers:
    """What the browser is told about the page."""
    return [
        ("Content-Security-Policy", _policy()),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-cache"),
    ]


def html(server: Server) -> bytes:
    """The document. Its links are relative to the root that monitoring has."""
    base = markup.escape(server.options.http_base_path)
    links = "\n".join(f'<a href="{base}/{path}">{text}</a>' for path, text in _LINKS)
    name = markup.escape(server.name)
    return (
        _document().replace("{{base}}", base).replace("{{links}}", links).replace("{{name}}", name).encode()
    )
