"""``spline``: the operator's toolbox. Makes the keys and password hashes that a configuration needs, and checks the
configuration.

Results go to standard output, one to a line, fit for scripts; what only people want goes to standard error.
Exit codes: 0 done, 1 could not be done, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import getpass
import os
import secrets
import string
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from broker.auth import nkeys, passwords
from broker.auth.nkeys import NkeyError, Prefix
from broker.protocol.version import VERSION
from supervisor.check import CheckError
from supervisor.check import check as run_check

DEFAULT_COST: Final = 11
MIN_COST: Final = 4
MAX_COST: Final = 31
GENERATED_CHARACTERS: Final = 32  # 190 random bits in letters and digits, which need no quoting anywhere

KINDS: Final = {
    "user": Prefix.USER,
    "account": Prefix.ACCOUNT,
    "operator": Prefix.OPERATOR,
    "server": Prefix.SERVER,
    "cluster": Prefix.CLUSTER,
    "curve": Prefix.CURVE,
}


class ToolError(Exception):
    """Something that the operator has to be told; ``str()`` is what."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of the toolbox; returns its exit code. Wrong usage and ``--help`` raise SystemExit."""
    options = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int | None] = options.command
    try:
        code = command(options)
        sys.stdout.flush()
    except (ToolError, CheckError) as error:
        print(f"spline: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader has seen enough
        sys.stderr.close()  # or the interpreter complains about the same pipe once more
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    return code or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="spline", description="Tools for operators of a Spline server.")
    parser.add_argument("--version", action="version", version=f"spline: v{VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    nkey = commands.add_parser(
        "nkey",
        help="make a key pair, or show the public key of a seed",
        description="Make a key pair and print its seed and its public key, each on a line. "
        "With --seed print the public key of that seed. A seed is a secret; a public key is not.",
    )
    kinds = nkey.add_mutually_exclusive_group()
    for name in KINDS:
        default = " (the default)" if name == "user" else ""
        kinds.add_argument(
            f"--{name}", dest="kind", action="store_const", const=name, help=f"a key for a {name}{default}"
        )
    nkey.add_argument("--seed", metavar="FILE", help="file that holds a seed or credentials; - reads stdin")
    nkey.set_defaults(command=_nkey)

    passwd = commands.add_parser(
        "passwd",
        help="make a bcrypt hash of a password",
        description="Print the bcrypt hash of a password, for a configuration file. Without -p the password "
        "is asked for at a terminal; elsewhere, and with -g, a strong one is made up and printed first.",
    )
    source = passwd.add_mutually_exclusive_group()
    source.add_argument(
        "-p",
        "--password",
        help="the password; - reads a line of stdin (others can see what stands on a command line)",
    )
    source.add_argument("-g", "--generate", action="store_true", help="make up a strong password")
    passwd.add_argument(
        "--cost",
        type=_cost,
        default=DEFAULT_COST,
        metavar=f"{MIN_COST}..{MAX_COST}",
        help=f"each step doubles the time a check takes (default {DEFAULT_COST})",
    )
    passwd.set_defaults(command=_passwd)

    check = commands.add_parser(
        "check",
        help="find what is wrong with a configuration file",
        description="Show everything that is wrong with a configuration file, each with its place; the exit code "
        "is 0 if a server would start with it.",
    )
    check.add_argument("file", metavar="FILE", help="the configuration file")
    more = check.add_mutually_exclusive_group()
    more.add_argument(
        "--effective",
        action="store_true",
        help="print the resulting configuration, defaults and all, with secrets masked",
    )
    more.add_argument(
        "--plan",
        metavar="PID",
        type=int,
        help="show what that running server would change, and what it would refuse, if FILE were its "
        "configuration file and it were told to reload",
    )
    check.set_defaults(command=_check)
    return parser


def _check(options: argparse.Namespace) -> int:
    file = os.path.abspath(options.file) if options.plan is not None else options.file
    return run_check(file, options.effective, options.plan)


def _cost(text: str) -> int:
    cost = int(text) if text.isdecimal() and len(text) <= 2 else 0
    if not MIN_COST <= cost <= MAX_COST:
        raise argparse.ArgumentTypeError(f"the cost is a number from {MIN_COST} to {MAX_COST}")
    return cost


def _nkey(options: argparse.Namespace) -> None:
    kind: str | None = options.kind
    if options.seed is None:
        pair = nkeys.generate(KINDS[kind or "user"])
        print(pair.encoded_seed())
        print(pair.public)
        return
    where = "standard input" if options.seed == "-" else options.seed
    try:
        pair = nkeys.from_seed(_find_seed(_read(options.seed)))
    except NkeyError as error:
        raise ToolError(f"{where} holds no usable seed ({error})") from None
    if kind is not None and pair.prefix is not KINDS[kind]:
        raise ToolError(f"{where} holds a seed of another kind: {pair.prefix.name.lower()}, not {kind}")
    print(pair.public)


def _find_seed(text: str) -> str:
    """The seed in a file that holds nothing else, or in a credentials file. Raises NkeyError."""
    for line in text.splitlines():
        word = line.strip()
        if len(word) == nkeys.SEED_CHARACTERS and word.startswith("S"):
            return word
    raise NkeyError("no line of it is one")


def _read(name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise ToolError(f"cannot read {name}: {error.strerror}") from None
    return data.decode("utf-8", "replace")


def _passwd(options: argparse.Namespace) -> None:
    import bcrypt

    password = _password(options)
    try:
        data = password.encode()
    except UnicodeEncodeError:
        raise ToolError("the password is not UTF-8, so that no client could send it") from None
    if not data:
        raise ToolError("the password is empty")
    if len(data) > passwords.BCRYPT_MAX_PASSWORD:
        raise ToolError(
            f"the password is longer than the {passwords.BCRYPT_MAX_PASSWORD} bytes bcrypt can use"
        )
    # "2a" because configuration files take a bare word with that prefix for text, not for a variable.
    print(bcrypt.hashpw(data, bcrypt.gensalt(options.cost, prefix=b"2a")).decode())


def _password(options: argparse.Namespace) -> str:
    if options.password == "-":
        return sys.stdin.buffer.readline().rstrip(b"\r\n").decode("utf-8", "surrogateescape")
    if options.password is not None:
        return str(options.password)
    if options.generate or not sys.stdin.isatty():
        alphabet = string.ascii_letters + string.digits
        password = "".join(secrets.choice(alphabet) for _ in range(GENERATED_CHARACTERS))
        print(password)
        return password
    try:
        password = getpass.getpass("Enter password: ")
        again = getpass.getpass("Reenter password: ")
    except EOFError:
        raise ToolError("no password was given") from None
    if password != again:
        raise ToolError("the passwords do not match")
    return password


if __name__ == "__main__":
    sys.exit(main())
