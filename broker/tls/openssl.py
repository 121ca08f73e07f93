"""What the standard library's ssl does not offer yet: a list of curves (`SSLContext.set_groups` comes with Python 3.15).

Before that, one curve can be set; for several the pointer to OpenSSL's own context is taken from the Python object,
whose layout is the same in all the versions that need this: the object's head, then the pointer.
"""

from __future__ import annotations

import ctypes
import ssl
from collections.abc import Sequence
from typing import Any, Final

_CURVES: Final = {
    "X25519MLKEM768": "X25519MLKEM768",
    "X25519": "X25519",
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
}
_OPTIONAL: Final = "X25519MLKEM768"  # only newer versions of OpenSSL know it
_SET_GROUPS_LIST: Final = 92  # SSL_CTRL_SET_GROUPS_LIST


def set_curves(context: ssl.SSLContext, names: Sequence[str]) -> None:
    """Allow these curves (nats-server's names), the best first. ValueError: they cannot be set."""
    if _set(context, names):
        return
    known = [name for name in names if name != _OPTIONAL]
    if not known or not _set(context, known):
        raise ValueError(f"this OpenSSL cannot use the curves {', '.join(names)}")


def _set(context: ssl.SSLContext, names: Sequence[str]) -> bool:
    text = ":".join(_CURVES[name] for name in names)
    set_groups: Any = getattr(context, "set_groups", None)
    try:
        if set_groups is not None:
            set_groups(text)
        elif len(names) == 1:
            context.set_ecdh_curve(text)
        else:
            return _control(context, _SET_GROUPS_LIST, text)
    except (ValueError, ssl.SSLError):
        return False
    return True


def _control(context: ssl.SSLContext, command: int, text: str) -> bool:
    library = ctypes.CDLL(ssl._ssl.__file__)  # type: ignore[attr-defined]  # finds what it is linked with
    try:
        control = library.SSL_CTX_ctrl
    except AttributeError:
        return False
    control.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p)
    control.restype = ctypes.c_long
    pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value
    return bool(control(pointer, command, 0, text.encode()) == 1)
