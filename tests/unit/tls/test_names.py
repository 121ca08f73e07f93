"""Which user a certificate is: distinguished names are compared part by part, and each part whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.tls.certificate import Certificate
from broker.tls.names import mapped_user, parse_dn, subject_text

CN, OU, ORG, C, DC, UID = (
    "2.5.4.3",
    "2.5.4.11",
    "2.5.4.10",
    "2.5.4.6",
    "0.9.2342.19200300.100.1.25",
    "0.9.2342.19200300.100.1.1",
)


def certificate(
    *subject: list[tuple[str, str]],
    emails: tuple[str, ...] = (),
    hosts: tuple[str, ...] = (),
    uris: tuple[str, ...] = (),
) -> Certificate:
    return Certificate(tuple(tuple(rdn) for rdn in subject), emails, hosts, uris, 0)


JOE = certificate([(C, "US")], [(ORG, "Acme")], [(OU, "eng"), (UID, "7")], [(CN, "joe")])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("CN=joe", [{(CN, "joe")}]),
        ("cn=joe,O=Acme", [{(CN, "joe")}, {(ORG, "Acme")}]),
        ("CN=joe;O=Acme", [{(CN, "joe")}, {(ORG, "Acme")}]),
        (" CN = joe , O = Acme Inc ", [{(CN, "joe")}, {(ORG, "Acme Inc")}]),
        ("OU=eng+UID=7", [{(OU, "eng"), (UID, "7")}]),
        (r"CN=a\,b\+c\\d\=e", [{(CN, r"a,b+c\d=e")}]),
        (r"CN=\ x\ ", [{(CN, " x ")}]),
        (r"CN=B\C3\BCcher", [{(CN, "Bücher")}]),
        ("CN=Bücher", [{(CN, "Bücher")}]),
        ("2.5.4.3=x", [{(CN, "x")}]),
        ("CN=#0c026869", [{(CN, "hi")}]),
        (r"CN=\#x", [{(CN, "#x")}]),
        ("CN=", [{(CN, "")}]),
        ("", None),
        ("joe", None),
        ("XX=joe", None),
        ("1..x=joe", None),
        ("CN=joe,", None),
        ("CN=joe\\", None),
        ("CN=#0cff", None),
        ("CN=#zz", None),
    ],
)
def test_parsing(text: str, parts: list[set[tuple[str, str]]] | None) -> None:
    assert parse_dn(text) == parts


@pytest.mark.parametrize(
    ("user", "is_joe"),
    [
        ("CN=joe,OU=eng+UID=7,O=Acme,C=US", True),
        ("CN=joe,UID=7+OU=eng,O=Acme,C=US", True),
        ("C=US,O=Acme,UID=7+OU=eng,CN=joe", True),
        ("O=Acme,cn=joe,c=US,uid=7+ou=eng", True),
        ("CN=joe,OU=eng,O=Acme,C=US", False),
        ("CN=joe,UID=7,O=Acme,C=US", False),
        ("CN=joe,OU=eng+UID=8,O=Acme,C=US", False),
        ("CN=joe,OU=eng,UID=7,O=Acme,C=US", False),
        ("CN=joe,OU=eng+UID=7+UID=7,O=Acme,C=US", True),  # a set
        ("CN=joe,OU=eng+UID=7,O=Acme,C=US,C=US", False),
        ("CN=joe,OU=eng+UID=7,O=Acme", False),
        ("CN=JOE,OU=eng+UID=7,O=Acme,C=US", False),
        ("joe", False),
        ("", False),
    ],
)
def test_subjects(user: str, is_joe: bool) -> None:
    assert mapped_user(JOE, ["other", user, "CN=x"]) == (user if is_joe else None)


def test_order_of_preference() -> None:
    full = certificate([(CN, "x")], emails=("e@x",), hosts=("h",), uris=("u:1", "u:2"))
    names = ["CN=x", "u:2", "u:1", "h", "e@x"]
    while names:
        assert mapped_user(full, names) == names.pop()
    assert mapped_user(full, ["2.5.4.3=x"]) == "2.5.4.3=x"


def test_the_same_order_is_preferred() -> None:
    two = certificate([(DC, "com")], [(DC, "example")])
    assert mapped_user(two, ["DC=com,DC=example", "dc=example,dc=com"]) == "dc=example,dc=com"


def test_nobody_has_no_name() -> None:
    assert mapped_user(certificate(), ["", "x"]) is None


@given(
    st.lists(
        st.lists(
            st.tuples(
                st.sampled_from([CN, OU, DC, "1.2.3"]),
                st.text(st.characters(codec="utf-8", exclude_characters="\0")),
            ),
            min_size=1,
            max_size=3,
            unique_by=lambda pair: pair[0],
        ),
        min_size=1,
        max_size=4,
    )
)
def test_what_is_written_is_read(subject: list[list[tuple[str, str]]]) -> None:
    one = certificate(*subject)
    assert parse_dn(subject_text(one)) == [frozenset(rdn) for rdn in reversed(subject)]
