"""The digest that identifies a configuration: two files with the same values have the same one.

It is the SHA-256 of the values as JSON, byte for byte as Go's encoder writes them, so that an operator can
compare the digest with the one nats-server prints for the same file.
"""

from __future__ import annotations

import hashlib
from typing import Final

from broker.options.gotext import exponent_float, plain_float, raw_bytes
from broker.options.parser import DateTime, Node, Value

_ESCAPES: Final = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    **{char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"},
}


def config_digest(values: dict[str, Node]) -> str:
    """``sha256:`` and 64 hexadecimal digits."""
    text = _json(values) + "\n"
    return "sha256:" + hashlib.sha256(text.encode("utf-8")).hexdigest()


def _json(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _json_float(value)
    if isinstance(value, str):
        return _json_string(value)
    if isinstance(value, DateTime):
        return _json_string(value.text)
    if isinstance(value, list):
        return "[" + ",".join(_json(item.value) for item in value) + "]"
    keys = sorted(value, key=raw_bytes)
    return "{" + ",".join(f"{_json_string(key)}:{_json(value[key].value)}" for key in keys) + "}"


def _json_float(value: float) -> str:
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        return plain_float(value)
    return exponent_float(value, 1)


def _json_string(text: str) -> str:
    out = ['"']
    for char in text:
        if char in _ESCAPES:
            out.append(_ESCAPES[char])
        elif char < " ":
            out.append(f"\\u{ord(char):04x}")
        elif "\udc80" <= char <= "\udcff":
            out.append("\\ufffd")
        else:
            out.append(char)
    out.append('"')
    return "".join(out)
