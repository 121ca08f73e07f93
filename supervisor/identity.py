"""The server's id: a public nkey of kind "server" (N...), new at every start."""

from __future__ import annotations

import base64
import binascii
import os
from typing import Final

_SERVER_PREFIX: Final = bytes([13 << 3])  # encodes as "N"


def new_server_id() -> str:
    """56 characters: prefix, 32 random bytes instead of a key, CRC-16/XMODEM (little-endian), in base32.

    Nothing is ever signed by it, so that no private key is needed and no cryptography has to be loaded.
    """
    raw = _SERVER_PREFIX + os.urandom(32)
    return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode()
