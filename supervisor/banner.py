"""The first lines of the log, in nats-server's order and words."""

from __future__ import annotations

from broker.log import Log
from broker.options import Options
from broker.protocol.features import unsupported_flags
from broker.protocol.version import VERSION


def log_banner(log: Log, options: Options, server_id: str) -> None:
    """Say who starts, and with which configuration."""
    log.info("Starting spline-server")
    log.info(f"  Version:  {VERSION}")
    log.info(f"  Name:     {options.server_name or server_id}")
    log.info(f"  ID:       {server_id}")
    _log_features(log, options)
    if has_plaintext_passwords(options):
        log.warn("Plaintext passwords detected, use nkeys or bcrypt")
    if options.config_file:
        log.info(f"Using configuration file: {options.config_file} ({options.config_digest})")


def _log_features(log: Log, options: Options) -> None:
    flags = options.feature_flags
    if not flags:
        return
    log.info("  Feature flags:")
    unsupported = unsupported_flags(options)
    known = sorted(flags.keys() - set(unsupported))
    shown = [f"{name} ({'opt-in' if flags[name] else 'disabled'})" for name in known]
    log.info(f"    Configured:    {', '.join(shown) or 'none'}")
    if unsupported:
        log.info(f"    Unsupported:   {', '.join(unsupported)}")


def has_plaintext_passwords(options: Options) -> bool:
    """Is there a password that is not a bcrypt hash? Tokens do not count, as for nats-server."""
    passwords = [user.password.reveal() for user in options.users]
    if options.password is not None and options.password.reveal():
        passwords.append(options.password.reveal())
    return not all(is_bcrypt(password) for password in passwords)


def is_bcrypt(password: str) -> bool:
    """Does it look like ``$2a$11$...``? (The same test as broker.auth's, without loading that room.)"""
    head = password[:7]
    return (
        len(head) == 7
        and head.startswith("$2")
        and head[2] in "abxy"
        and head[3] == head[6] == "$"
        and head[4:6].isascii()
        and head[4:6].isdigit()
    )
