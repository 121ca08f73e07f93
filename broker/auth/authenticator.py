"""The decision about a CONNECT: who is it, and may they come in?

A pure function of the options, the CONNECT and the nonce. The order in which ways to authenticate are tried
is that of nats-server, because a client may send several kinds of credentials at once:

    nothing configured      everybody comes in, whatever they send
    no_auth_user            stands in for a client that sends no credentials at all
    nkey users              decide alone about a client that sends an nkey
    users                   decide alone about a client that sends a user name, or about all if certificates are mapped
    token, single user      for everybody else

A refusal tells the client nothing but that it is one; the log is told who was refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from broker.auth import nkeys, passwords
from broker.options import NkeyUser, Options, Permissions, User
from broker.options.gotext import quote
from broker.options.model import GLOBAL_ACCOUNT
from broker.protocol.connect import Connect
from broker.protocol.info import auth_required

if TYPE_CHECKING:
    from broker.tls.certificate import Certificate

_FAILED: Final = "authentication error"


@dataclass(frozen=True, slots=True)
class Accepted:
    """Come in, bound to ``account``, with these ``permissions`` (None: all).

    ``user`` is None for a client that is not one of the configured users. ``label`` names the client in logs:
    ``user:bob``, ``nkey:U...``, ``token`` or nothing.
    """

    user: User | NkeyUser | None
    account: str
    permissions: Permissions | None
    label: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """Authorization Violation. ``log`` is for the error log, ``detail`` (may be empty) for the debug log."""

    log: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class NeedsBcrypt:
    """It depends: ``then`` if ``verify_bcrypt(hash, password)``, else ``otherwise``."""

    hash: bytes
    password: bytes = field(repr=False)
    then: Accepted
    otherwise: Rejected


Verdict = Accepted | Rejected | NeedsBcrypt


class Authenticator:
    """The authentication that a set of options asks for."""

    __slots__ = (
        "_keys",
        "_map_certificates",
        "_nkeys",
        "_no_auth_name",
        "_password",
        "_token",
        "_username",
        "_users",
        "by_label",
        "no_auth",
        "nonce_required",
        "required",
    )

    def __init__(self, options: Options) -> None:
        """``options`` are checked ones. Loads the libraries they need; ImportError if one is missing."""
        self._users = {user.name: user for user in options.users}
        self._nkeys = {user.nkey: user for user in options.nkeys}
        self._keys = {text: _raw_key(text) for text in self._nkeys}
        self._username = options.username
        self._password = options.password.reveal() if options.password else ""
        self._token = options.token.reveal() if options.token else ""
        self.by_label: dict[str, User | NkeyUser] = {}  # as in ``Accepted``, with the account in front
        everyone: list[User | NkeyUser] = [*options.users, *options.nkeys]
        for user in everyone:
            self.by_label[f"{user.account}/{_label(_identity_of(user))}"] = user
        self._no_auth_name = options.no_auth_user
        self._map_certificates = options.tls is not None and options.tls.verify_and_map
        self.required = auth_required(options)
        self.nonce_required = bool(self._nkeys)
        # Who stands in for a client that says nothing of itself. What holds for the user holds for it, too: nats-server up to
        # 2.14.2 forgot that he may only come over some kinds of connections.
        self.no_auth: User | NkeyUser | None = None
        if self._no_auth_name:
            guest = self._nkeys.get(self._no_auth_name) or self._users.get(self._no_auth_name)
            if guest is not None and isinstance(_admit(guest, "STANDARD"), Accepted):
                self.no_auth = guest
        if self._nkeys:
            nkeys.preload()
        secrets = [user.password.reveal() for user in options.users] + [self._password, self._token]
        if any(map(passwords.is_bcrypt, secrets)):
            passwords.preload()

    def check(
        self, connect: Connect, nonce: str, kind: str = "STANDARD", certificate: Certificate | None = None
    ) -> Verdict:
        """Decide about a client that was sent ``nonce`` (empty: none) over this ``kind`` of connection.

        ``certificate``: the client's, if its connection asked for one.
        """
        if connect.account or connect.new_account:  # once a feature, now an error, even with good credentials
            return _rejected(_identity(connect))
        if not self.required:
            return Accepted(None, GLOBAL_ACCOUNT, None, _label(_identity(connect)))
        anonymous = not (connect.user or connect.password or connect.auth_token)
        if self._nkeys and (connect.nkey or anonymous):
            user = self._nkeys.get(connect.nkey or self._no_auth_name)
            if user is not None:
                return self._check_nkey(user, connect, nonce, kind)
            if connect.nkey:
                return _rejected(_identity(connect), "unknown nkey")
        if self._users:
            if self._map_certificates:
                return self._check_certificate(connect, kind, certificate)
            if anonymous and self._no_auth_name in self._users:
                # Its password, if it has one, is for clients that send a name.
                return _admit(self._users[self._no_auth_name], kind)
            if connect.user:
                return self._check_user(connect, kind)
        return self._check_single(connect)

    def find(self, like: User | NkeyUser) -> User | NkeyUser | None:
        """The user of the same name or nkey."""
        return self._nkeys.get(like.nkey) if isinstance(like, NkeyUser) else self._users.get(like.name)

    def single(self) -> tuple[object, ...]:
        """What decides about clients that are none of the configured users."""
        return self.required, self._username, self._password, self._token, self._no_auth_name

    def _check_nkey(self, user: NkeyUser, connect: Connect, nonce: str, kind: str) -> Accepted | Rejected:
        verdict = _admit(user, kind)
        if isinstance(verdict, Rejected) or user.nkey == self._no_auth_name:
            return verdict
        identity = ("nkey", user.nkey)
        if not connect.sig:
            return _rejected(identity, "Signature missing")
        signature = nkeys.decode_signature(connect.sig)
        if signature is None:
            return _rejected(identity, "Signature not valid base64")
        if not nonce or not nkeys.verify(self._keys[user.nkey], nonce.encode(), signature):
            return _rejected(identity, "Signature not verified")
        return verdict

    def _check_certificate(self, connect: Connect, kind: str, certificate: Certificate | None) -> Verdict:
        from broker.tls.names import mapped_user, subject_text  # loads ssl, which few configurations need

        if certificate is None:  # a client without TLS, where that is allowed
            return _rejected(("", ""), "no certificate")
        admitted: dict[str, Accepted] = {}
        for name, user in self._users.items():
            verdict = _admit(user, kind)
            if isinstance(verdict, Accepted):
                admitted[name] = verdict
        found = mapped_user(certificate, admitted)
        if found is None:
            return _rejected(("", ""), f"User in cert [{quote(subject_text(certificate))}], not found")
        password = self._users[found].password.reveal()
        return _compare(password, connect.password, admitted[found], _rejected(("user", found)))

    def _check_user(self, connect: Connect, kind: str) -> Verdict:
        identity = ("user", connect.user)
        user = self._users.get(connect.user)
        if user is None:
            passwords.same("unknown", connect.password)  # the time a refusal takes must not tell who exists
            return _rejected(identity)
        admitted = _admit(user, kind)
        if isinstance(admitted, Rejected):
            return admitted
        return _compare(user.password.reveal(), connect.password, admitted, _rejected(identity))

    def _check_single(self, connect: Connect) -> Verdict:
        identity = _identity(connect)
        refused = _rejected(identity)
        accepted = Accepted(None, GLOBAL_ACCOUNT, None, _label(identity))
        if self._token:
            return _compare(self._token, connect.auth_token, accepted, refused)
        if self._username:
            if not passwords.same(self._username, connect.user):
                passwords.same(self._password, connect.password)
                return refused
            return _compare(self._password, connect.password, accepted, refused)
        return refused


def _raw_key(text: str) -> bytes:
    """The key of a configured nkey user. A text that is no key gives an empty one, which verifies nothing."""
    try:
        return nkeys.decode(text, nkeys.Prefix.USER)[1]
    except nkeys.NkeyError:
        return b""


def _compare(configured: str, given: str, then: Accepted, otherwise: Rejected) -> Verdict:
    if passwords.is_bcrypt(configured):
        return NeedsBcrypt(passwords.to_bytes(configured), passwords.to_bytes(given), then, otherwise)
    return then if passwords.same(configured, given) else otherwise


def _admit(user: User | NkeyUser, kind: str) -> Accepted | Rejected:
    """Whether ``user`` may connect in this way, given that it is them."""
    identity = _identity_of(user)
    if user.connection_types and kind not in user.connection_types:
        return _rejected(identity, "Connection type not allowed")
    return Accepted(user, user.account, user.permissions, _label(identity))


def _identity_of(user: User | NkeyUser) -> tuple[str, str]:
    return ("nkey", user.nkey) if isinstance(user, NkeyUser) else ("user", user.name)


def _identity(connect: Connect) -> tuple[str, str]:
    """(kind, name) of who the client says it is; the kind is empty if it says nothing."""
    if connect.nkey:
        return "nkey", connect.nkey
    if connect.user:
        return "user", connect.user
    if connect.auth_token:
        return "token", ""
    return "", ""


def _label(identity: tuple[str, str]) -> str:
    kind, name = identity
    return f"{kind}:{name}" if name else kind


def _rejected(identity: tuple[str, str], detail: str = "") -> Rejected:
    kind, name = identity
    if not kind:
        return Rejected(_FAILED, detail)
    return Rejected(f"{_FAILED} - {kind.capitalize()} {quote(name or '[REDACTED]')}", detail)
