"""What passes between the examiner and a hand-in: JSON, with arrays and the like written out as data. Nothing is ever unpickled.

A message is eight bytes of length and as many bytes of JSON. In it numbers, texts, booleans, None and lists of them are themselves;
anything else is an object with one key that says what it is.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

LONGEST = 64 * 2**20  # bytes of one message
DEPTH = 20  # how deep values may nest
_LENGTH = struct.Struct(">Q")
# Spelled out: a hand-in must not be able to name a type that holds objects.
_NUMPY = {np.dtype(code).name for code in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")}
_TORCH = {str(kind)[6:]: kind for kind in (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)}
_TORCH |= {str(kind)[6:]: kind for kind in (torch.float16, torch.float32, torch.float64)}


class WireError(ValueError):
    """A value that cannot be sent, or a message that is not one."""


@dataclass(frozen=True)
class Ref:
    """An argument by name, such as a model: the other side makes the thing itself. See ``child.THINGS``."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


def encode(value: Any, depth: int = 0) -> Any:
    """Return ``value`` as plain JSON data. A module becomes the dict of its weights. WireError for a kind of value that is not known."""
    kind = type(value)
    if depth > DEPTH:
        raise WireError("a value that nests too deep")
    if value is None or kind in (bool, str):
        return value
    if kind is int:
        # JSON readers limit the digits of a number, in different ways.
        return value if abs(value) < 2**63 else {"int": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if kind is list:
        return [encode(item, depth + 1) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(item, depth + 1) for item in value]}
    if kind in (set, frozenset):
        return {"set": [encode(item, depth + 1) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key, depth + 1), encode(item, depth + 1)] for key, item in value.items()]}
    if isinstance(value, Ref):
        return {"ref": [value.name, encode(value.options, depth + 1)]}
    if isinstance(value, torch.Tensor):
        array = value.detach().cpu().contiguous()
        name = str(array.dtype)[6:]
        if name == "bfloat16":  # numpy has no such type
            array, name = array.float(), "float32"
        if name not in _TORCH:
            raise WireError(f"a tensor of {name}")
        return {"tensor": [name, list(array.shape), _text(array.numpy())]}
    if isinstance(value, torch.nn.Module):
        return {"dict": [[name, encode(weights, depth + 1)] for name, weights in value.state_dict().items()]}
    if isinstance(value, np.generic):
        return encode(value.item(), depth + 1)
    if isinstance(value, np.ndarray):
        if value.dtype.name not in _NUMPY:
            raise WireError(f"an array of {value.dtype.name}")
        return {"array": [value.dtype.name, list(value.shape), _text(value)]}
    raise WireError(f"a {kind.__name__}")


def _text(array: np.ndarray) -> str:
    if array.nbytes > LONGEST:
        raise WireError("more than fits into one message")
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def decode(value: Any, depth: int = 0) -> Any:
    """Return the value that ``encode`` was given. WireError for anything that it would not have written."""
    if depth > 2 * DEPTH:
        raise WireError("a value that nests too deep")
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return [decode(item, depth + 1) for item in value]
    if type(value) is not dict or len(value) != 1:
        raise WireError("an unknown kind of value")
    (tag, body), = value.items()
    try:
        if tag in ("array", "tensor"):
            return _array(tag, *body)
        if tag == "int":
            return int(body, 16)
        if tag == "float":
            return float(body)
        if tag == "tuple":
            return tuple(decode(item, depth + 1) for item in body)
        if tag == "set":
            return {decode(item, depth + 1) for item in body}
        if tag == "dict":
            return {decode(key, depth + 1): decode(item, depth + 1) for key, item in body}
        if tag == "ref":
            return Ref(body[0], decode(body[1], depth + 1))
    except (TypeError, ValueError, IndexError, KeyError) as problem:
        raise WireError(f"a broken {tag}") from problem
    raise WireError("an unknown kind of value")


def _array(tag: str, name: str, shape: list[int], text: str) -> Any:
    if name not in (_TORCH if tag == "tensor" else _NUMPY) or not all(type(size) is int and size >= 0 for size in shape):
        raise WireError(f"a broken {tag}")
    # A copy, so that it can be written to; reshape refuses a shape that the bytes do not fill.
    array = np.frombuffer(base64.b64decode(text, validate=True), dtype=name).reshape(shape).copy()
    return torch.from_numpy(array) if tag == "tensor" else array


def pack(message: Any) -> bytes:
    """Return a message as bytes. WireError if it is too long."""
    body = json.dumps(message, allow_nan=False).encode("ascii")
    if len(body) > LONGEST:
        raise WireError("more than fits into one message")
    return _LENGTH.pack(len(body)) + body


def unpack(buffer: bytearray) -> Any | None:
    """Take one message off the front of ``buffer``; None while it has not arrived in full. WireError if it is none, or too long."""
    if len(buffer) < _LENGTH.size:
        return None
    length = _LENGTH.unpack_from(buffer)[0]
    if length > LONGEST:
        raise WireError("more than fits into one message")
    if len(buffer) < _LENGTH.size + length:
        return None
    body = bytes(buffer[_LENGTH.size : _LENGTH.size + length])
    del buffer[: _LENGTH.size + length]
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as problem:
        raise WireError("no JSON") from problem
