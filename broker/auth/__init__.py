"""Who may connect, as whom, with what rights. Pure policy: no input, no output, no waiting."""

from __future__ import annotations

from broker.auth.authenticator import Accepted, Authenticator, NeedsBcrypt, Rejected
from broker.auth.passwords import verify_bcrypt
from broker.auth.recheck import Fate, fate

__all__ = ["Accepted", "Authenticator", "Fate", "NeedsBcrypt", "Rejected", "fate", "verify_bcrypt"]
