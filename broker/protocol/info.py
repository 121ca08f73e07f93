"""INFO: the line by which the server introduces itself.

The first INFO is written for every connection that is accepted, also in a storm of reconnecting clients, so
everything that is the same for all of them is rendered once. Field order and spelling are nats-server's,
including the space between the closing brace and the end of the line.
"""

from __future__ import annotations

import json
from typing import Final

from broker.options import Options
from broker.options.gotext import GoError, parse_int, split_host_port
from broker.protocol.version import API_LEVEL, NATS_VERSION, PROTO, RUNTIME

_LDM: Final = b',"ldm":true'
_quoted: Final = json.JSONEncoder(ensure_ascii=False).encode


def auth_required(options: Options) -> bool:
    """Whether clients have to say who they are. One definition, so that INFO and the authenticator agree."""
    token = options.token.reveal() if options.token else ""
    return bool(options.users or options.nkeys or options.username or token)


class InfoTemplate:
    """The INFO lines of one server, as bytes that end a line."""

    __slots__ = (
        "_after",
        "_before",
        "_first_before",
        "_ldm",
        "_max_payload",
        "_rest",
        "_rest_tls_first",
        "_tail",
        "server_name",
    )

    def __init__(self, options: Options, server_id: str) -> None:
        """``server_id``: the server's public key. Raises ValueError for a malformed ``client_advertise``."""
        host, port = _advertised(options)
        self.server_name = options.server_name or server_id
        start = ",".join(
            (
                f'INFO {{"server_id":{_text(server_id)}',
                f'"server_name":{_text(self.server_name)}',
                f'"version":"{NATS_VERSION}"',
                f'"proto":{PROTO}',
                f'"go":"{RUNTIME}"',
                f'"host":{_text(host)}',
                f'"port":{port}',
                f'"headers":{"false" if options.no_header_support else "true"}',
            )
        )
        required = ',"auth_required":true' if auth_required(options) else ""
        # A client that needs no credentials must not be told in its first INFO to look for some.
        first_required = "" if options.no_auth_user and not options.implied_user else required
        self._max_payload = options.max_payload
        self._first_before = f"{start}{first_required}".encode()
        self._before = f"{start}{required}".encode()
        self._rest = f'{_tls_fields(options, first=False)},"max_payload":'.encode()
        self._rest_tls_first = f'{_tls_fields(options, first=True)},"max_payload":'.encode()
        self._tail = f',"api_lvl":{API_LEVEL}}} \r\n'.encode()
        self._after = b',"connect_info":true,"remote_account":'
        self._ldm = b""

    def first(self, cid: int, client_ip: str, nonce: str | None, tls_first: bool = False) -> bytes:
        """The line for a new connection. ``client_ip`` empty: unknown; ``nonce``: the text to be signed; ``tls_first``: it goes
        through TLS."""
        challenge = b',"nonce":"%b"' % nonce.encode() if nonce else b""
        rest = self._limits(cid, tls_first, self._max_payload)
        return b"".join((self._first_before, rest, _address(client_ip), challenge, self._ldm, self._tail))

    def connect_info(
        self,
        cid: int,
        client_ip: str,
        account: str,
        system: bool = False,
        tls_first: bool = False,
        max_payload: int = -1,
    ) -> bytes:
        """The line after the first PONG: the ``account`` the client is in, and whether it is the system's.

        ``max_payload`` is the account's limit (-1: none); the lower one, its or the server's, is shown.
        """
        least = min((limit for limit in (self._max_payload, max_payload) if limit >= 0), default=-1)
        name = _text(account).encode()
        flag = b',"acc_is_sys":true' if system else b""
        rest = self._limits(cid, tls_first, least)
        start = (self._before, rest, _address(client_ip), self._ldm)
        return b"".join((*start, self._after, name, flag, self._tail))

    def enter_lame_duck(self) -> None:
        """From now on every line says that this server is about to go."""
        self._ldm = _LDM

    def news(self, cid: int, client_ip: str, tls_first: bool = False, lame_duck: bool = False) -> bytes:
        """The line for a client that knows all the rest already. ``lame_duck``: it alone is to go."""
        rest = self._limits(cid, tls_first, self._max_payload)
        return b"".join(
            (self._before, rest, _address(client_ip), _LDM if lame_duck else self._ldm, self._tail)
        )

    def _limits(self, cid: int, tls_first: bool, max_payload: int) -> bytes:
        return b'%b%d,"client_id":%d' % (
            self._rest_tls_first if tls_first else self._rest,
            max_payload,
            cid,
        )


def _tls_fields(options: Options, first: bool) -> str:
    """Whether TLS must or may be used. Where it comes first there is no choice, whatever the options say."""
    if options.tls is None:
        return ""
    fields = ""
    if first or not options.allow_non_tls:
        fields += ',"tls_required":true'
    if options.tls.verify or options.tls.verify_and_map:
        fields += ',"tls_verify":true'
    if options.allow_non_tls:
        fields += ',"tls_available":true'
    return fields


def _address(client_ip: str) -> bytes:
    return b',"client_ip":"%b"' % client_ip.encode() if client_ip else b""


def _text(value: str) -> str:
    """A JSON string. Bytes of a configuration file that are not UTF-8 become replacement characters."""
    return _quoted(value.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def _advertised(options: Options) -> tuple[str, int]:
    """The host and port that clients are told: our own, unless ``client_advertise`` names others."""
    text = options.client_advertise
    if not text:
        return options.host, options.port
    try:
        host, number = split_host_port(text)
    except GoError as error:
        if "missing port" not in str(error):
            raise
        host, number = split_host_port(f"{text}:{options.port}")
    port = parse_int(number.strip())
    return host.strip(), options.port if port in (0, -1) else port
