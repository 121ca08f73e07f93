"""Who may connect, as whom, with what rights. Pure policy: no input, no output, no waiting."""

from __future__ import annotations

from broker.auth.authenticator import Accepted, Authenticator, NeedsBcrypt, Rejected
from broker.auth.passwords import verify_bcrypt

__all__ = ["Accepted", "Authenticator", "NeedsBcrypt", "Rejected", "verify_bcrypt"]
