"""Who may connect. What is expected here was observed with nats-server 2.14, unless a test says otherwise."""

from __future__ import annotations

import base64
from collections.abc import Callable

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.auth import Accepted, Authenticator, NeedsBcrypt, Rejected, nkeys, verify_bcrypt
from broker.auth.authenticator import Verdict
from broker.auth.nkeys import Prefix
from broker.options import NkeyUser, Options, Permissions, Secret, SubjectList, User
from broker.protocol.connect import Connect

NONCE = "PGB-fcSEeQmUmXA"
KEY = nkeys.generate(Prefix.USER)
OTHER_KEY = nkeys.generate(Prefix.USER)
HASH = bcrypt.hashpw(b"hashed", bcrypt.gensalt(4, prefix=b"2a")).decode()
FAILED = "authentication error"


def user(name: str, password: str = "", **rest: object) -> User:
    return User(name, Secret(password), **rest)  # type: ignore[arg-type]


def sign(nonce: str, key: nkeys.KeyPair = KEY) -> str:
    return base64.urlsafe_b64encode(key.sign(nonce.encode())).decode().rstrip("=")


def decide(
    options: Options, connect: Connect, nonce: str = NONCE, kind: str = "STANDARD"
) -> Accepted | Rejected:
    """The verdict, after the hash has been checked if it takes one."""
    verdict: Verdict = Authenticator(options).check(connect, nonce, kind)
    if isinstance(verdict, NeedsBcrypt):
        return verdict.then if verify_bcrypt(verdict.hash, verdict.password) else verdict.otherwise
    return verdict


def accepted(options: Options, connect: Connect, **rest: str) -> Accepted:
    verdict = decide(options, connect, **rest)
    assert isinstance(verdict, Accepted)
    return verdict


def rejected(options: Options, connect: Connect, **rest: str) -> Rejected:
    verdict = decide(options, connect, **rest)
    assert isinstance(verdict, Rejected)
    return verdict


class TestOpen:
    """A server without authentication."""

    def test_takes_everybody(self) -> None:
        auth = Authenticator(Options())
        assert not auth.required
        assert not auth.nonce_required
        assert auth.no_auth is None
        assert accepted(Options(), Connect()) == Accepted(None, "$G", None, "")

    def test_names_who_says_a_name(self) -> None:
        assert accepted(Options(), Connect(user="u", password="p")).label == "user:u"
        assert accepted(Options(), Connect(auth_token="t")).label == "token"
        assert accepted(Options(), Connect(nkey="U1", user="u")).label == "nkey:U1"

    def test_empty_credentials_configure_nothing(self) -> None:
        assert not Authenticator(Options(token=Secret(""), password=Secret("p"))).required

    def test_account_designation_is_an_error(self) -> None:
        assert rejected(Options(), Connect(account="x")).log == FAILED
        assert rejected(Options(), Connect(new_account=True)).log == FAILED


class TestUsers:
    """A list of users."""

    PERMISSIONS = Permissions(publish=SubjectList(["a"]))
    OPTIONS = Options(
        users=[
            user("a", "b", permissions=PERMISSIONS),
            user("empty"),
            user("hash", HASH),
            user("ws", "p", connection_types=frozenset({"WEBSOCKET"})),
            user("there", "p", account="THERE"),
        ]
    )

    def test_right_password(self) -> None:
        verdict = accepted(self.OPTIONS, Connect(user="a", password="b"))
        assert verdict == Accepted(self.OPTIONS.users[0], "$G", self.PERMISSIONS, "user:a")
        assert verdict.permissions is self.PERMISSIONS

    def test_wrong_password(self) -> None:
        assert rejected(self.OPTIONS, Connect(user="a", password="c")).log == f'{FAILED} - User "a"'
        assert rejected(self.OPTIONS, Connect(user="a")).log == f'{FAILED} - User "a"'

    def test_unknown_user_looks_like_a_wrong_password(self) -> None:
        assert rejected(self.OPTIONS, Connect(user="zz", password="b")) == Rejected(f'{FAILED} - User "zz"')

    def test_an_empty_password_fits_only_itself(self) -> None:
        assert accepted(self.OPTIONS, Connect(user="empty")).label == "user:empty"
        rejected(self.OPTIONS, Connect(user="empty", password="x"))

    def test_hashed_password(self) -> None:
        auth = Authenticator(self.OPTIONS)
        verdict = auth.check(Connect(user="hash", password="hashed"), "")
        assert isinstance(verdict, NeedsBcrypt)
        assert (verdict.hash, verdict.password) == (HASH.encode(), b"hashed")
        assert verdict.then.label == "user:hash"
        assert verdict.otherwise.log == f'{FAILED} - User "hash"'
        rejected(self.OPTIONS, Connect(user="hash", password="nope"))
        rejected(self.OPTIONS, Connect(user="hash", password=HASH))

    def test_secrets_stay_out_of_representations(self) -> None:
        verdict = Authenticator(self.OPTIONS).check(Connect(user="hash", password="hashed"), "")
        assert "b'hashed'" not in repr(verdict)

    def test_connection_type(self) -> None:
        connect = Connect(user="ws", password="p")
        assert rejected(self.OPTIONS, connect).log == f'{FAILED} - User "ws"'
        assert accepted(self.OPTIONS, connect, kind="WEBSOCKET").label == "user:ws"

    def test_account(self) -> None:
        assert accepted(self.OPTIONS, Connect(user="there", password="p")).account == "THERE"

    def test_nothing_sent(self) -> None:
        assert rejected(self.OPTIONS, Connect()).log == FAILED
        assert rejected(self.OPTIONS, Connect(password="t")).log == FAILED
        assert rejected(self.OPTIONS, Connect(auth_token="t")).log == f'{FAILED} - Token "[REDACTED]"'

    def test_account_designation_is_an_error_with_good_credentials(self) -> None:
        assert (
            rejected(self.OPTIONS, Connect(user="a", password="b", account="x")).log == f'{FAILED} - User "a"'
        )

    def test_names_are_quoted_in_logs(self) -> None:
        name = 'bad\n\u00e9\u200b"x'
        assert rejected(self.OPTIONS, Connect(user=name)).log == f'{FAILED} - User "bad\\n\u00e9\\u200b\\"x"'

    def test_an_nkey_without_nkey_users_is_ignored(self) -> None:
        assert accepted(self.OPTIONS, Connect(user="a", password="b", nkey="U1")).label == "user:a"


class TestNkeys:
    """Users known by their key, beside others."""

    NKEY_USER = NkeyUser(KEY.public, account="KEYS")
    OPTIONS = Options(users=[user("a", "b")], nkeys=[NKEY_USER])

    def test_nonce(self) -> None:
        auth = Authenticator(self.OPTIONS)
        assert auth.required
        assert auth.nonce_required
        assert not Authenticator(Options(users=[user("a")])).nonce_required

    def test_right_signature(self) -> None:
        verdict = accepted(self.OPTIONS, Connect(nkey=KEY.public, sig=sign(NONCE)))
        assert verdict == Accepted(self.NKEY_USER, "KEYS", None, f"nkey:{KEY.public}")

    def test_signature_in_plain_base64(self) -> None:
        signature = base64.b64encode(KEY.sign(NONCE.encode())).decode()
        assert accepted(self.OPTIONS, Connect(nkey=KEY.public, sig=signature)).user is self.NKEY_USER

    @pytest.mark.parametrize(
        ("signature", "detail"),
        [
            ("", "Signature missing"),
            ("!", "Signature not valid base64"),
            (sign(NONCE)[:-2], "Signature not verified"),
            (sign("another"), "Signature not verified"),
            (sign(NONCE, OTHER_KEY), "Signature not verified"),
        ],
        ids=["none", "no base64", "short", "of something else", "by another key"],
    )
    def test_wrong_signature(self, signature: str, detail: str) -> None:
        expected = Rejected(f'{FAILED} - Nkey "{KEY.public}"', detail)
        assert rejected(self.OPTIONS, Connect(nkey=KEY.public, sig=signature)) == expected

    def test_a_signature_of_nothing_is_none(self) -> None:
        rejected(self.OPTIONS, Connect(nkey=KEY.public, sig=sign("")), nonce="")

    def test_unknown_key_is_refused_whatever_else_is_sent(self) -> None:
        connect = Connect(nkey=OTHER_KEY.public, sig=sign(NONCE, OTHER_KEY), user="a", password="b")
        assert rejected(self.OPTIONS, connect).log == f'{FAILED} - Nkey "{OTHER_KEY.public}"'
        assert rejected(self.OPTIONS, Connect(nkey="UBAD")).log == f'{FAILED} - Nkey "UBAD"'

    def test_users_beside_keys(self) -> None:
        assert accepted(self.OPTIONS, Connect(user="a", password="b")).label == "user:a"

    def test_connection_type(self) -> None:
        options = Options(nkeys=[NkeyUser(KEY.public, connection_types=frozenset({"LEAFNODE"}))])
        rejected(options, Connect(nkey=KEY.public, sig=sign(NONCE)))
        accepted(options, Connect(nkey=KEY.public, sig=sign(NONCE)), kind="LEAFNODE")

    @pytest.mark.parametrize(
        "text", ["UNUSABLE", nkeys.generate(Prefix.ACCOUNT).public], ids=["text", "account"]
    )
    def test_a_configured_text_that_is_no_user_key_lets_nobody_in(self, text: str) -> None:
        rejected(Options(nkeys=[NkeyUser(text)]), Connect(nkey=text, sig=sign(NONCE)))


class TestSingle:
    """One token, or one user, for all."""

    @pytest.mark.parametrize(
        ("configured", "right"), [("t0k", "t0k"), (HASH, "hashed")], ids=["plain", "hash"]
    )
    def test_token(self, configured: str, right: str) -> None:
        options = Options(token=Secret(configured))
        assert accepted(options, Connect(auth_token=right)) == Accepted(None, "$G", None, "token")
        assert rejected(options, Connect(auth_token="wrong")).log == f'{FAILED} - Token "[REDACTED]"'
        assert rejected(options, Connect()).log == FAILED
        assert accepted(options, Connect(auth_token=right, user="u")).label == "user:u"

    @pytest.mark.parametrize(("configured", "right"), [("p", "p"), (HASH, "hashed")], ids=["plain", "hash"])
    def test_user(self, configured: str, right: str) -> None:
        options = Options(username="u", password=Secret(configured))
        assert accepted(options, Connect(user="u", password=right)) == Accepted(None, "$G", None, "user:u")
        assert rejected(options, Connect(user="u")).log == f'{FAILED} - User "u"'
        assert rejected(options, Connect(user="x", password=right)).log == f'{FAILED} - User "x"'
        assert rejected(options, Connect(password=right)).log == FAILED
        assert rejected(options, Connect()).log == FAILED

    def test_user_without_password(self) -> None:
        options = Options(username="u")
        accepted(options, Connect(user="u"))
        rejected(options, Connect(user="u", password="x"))

    def test_users_decide_before_a_token(self) -> None:
        options = Options(users=[user("a", "b")], token=Secret("t"))
        assert accepted(options, Connect(auth_token="t")).user is None
        rejected(options, Connect(user="x", auth_token="t"))


class TestNoAuthUser:
    """The user that clients without credentials become."""

    def options(self, name: str, password: str = "b") -> Options:
        return Options(users=[user("a", password)], nkeys=[NkeyUser(KEY.public)], no_auth_user=name)

    def test_user_stands_in(self) -> None:
        options = self.options("a")
        auth = Authenticator(options)
        assert auth.required
        assert auth.no_auth is options.users[0]
        assert accepted(options, Connect()) == Accepted(options.users[0], "$G", None, "user:a")

    @pytest.mark.parametrize(
        "connect",
        [Connect(user="a", password="x"), Connect(user="x"), Connect(password="b"), Connect(auth_token="b")],
    )
    def test_wrong_credentials_are_refused(self, connect: Connect) -> None:
        rejected(self.options("a"), connect)

    def test_a_hashed_password_does_not_keep_it_out(self) -> None:
        """nats-server compares the hash with itself as if it were a password, and refuses the client."""
        assert accepted(self.options("a", HASH), Connect()).label == "user:a"

    def test_nkey_user_stands_in(self) -> None:
        options = self.options(KEY.public)
        assert Authenticator(options).no_auth is options.nkeys[0]
        assert accepted(options, Connect()).label == f"nkey:{KEY.public}"
        assert accepted(options, Connect(nkey=KEY.public)).user is options.nkeys[0]
        assert accepted(options, Connect(user="a", password="b")).label == "user:a"
        rejected(options, Connect(auth_token="t"))

    def test_an_unknown_key_is_not_nothing(self) -> None:
        rejected(self.options("a"), Connect(nkey=OTHER_KEY.public))
        users_only = Options(users=[user("a", "b")], no_auth_user="a")
        assert accepted(users_only, Connect(nkey=OTHER_KEY.public)).label == "user:a"

    def test_connection_type_holds_for_it(self) -> None:
        options = Options(users=[user("a", connection_types=frozenset({"MQTT"}))], no_auth_user="a")
        assert rejected(options, Connect()).log == f'{FAILED} - User "a"'


texts = st.one_of(st.sampled_from(["", "a", "b", "u", "t", KEY.public, HASH]), st.text(max_size=5))
connects = st.builds(Connect, user=texts, password=texts, auth_token=texts, nkey=texts, sig=texts)
modes: list[Callable[[], Options]] = [
    Options,
    lambda: Options(token=Secret("t")),
    lambda: Options(username="u", password=Secret("b")),
    lambda: TestNoAuthUser().options("a"),
    lambda: TestNoAuthUser().options(KEY.public),
    lambda: TestUsers.OPTIONS,
]


@given(st.sampled_from(modes), connects, st.text(max_size=15))
def test_every_connect_gets_a_verdict(mode: Callable[[], Options], connect: Connect, nonce: str) -> None:
    """Whatever a client sends, it is decided upon, and a stranger does not come in."""
    options = mode()
    verdict = Authenticator(options).check(connect, nonce)
    if isinstance(verdict, Accepted) and options.users:
        assert verdict.user in [*options.users, *options.nkeys]
