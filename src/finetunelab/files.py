"""Writing files so that an interruption or a full disk never leaves half of one behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from .errors import UserError


def write_whole(path: str | Path, write: Callable[[IO[bytes]], object]) -> Path:
    """Let ``write(stream)`` fill a temporary file beside ``path``, then rename it over ``path``; return ``path``.

    Whatever goes wrong, the old file stays as it was. UserError if the folder is missing or the disk is full or read-only.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder", "name a file to write")
    if not path.absolute().parent.is_dir():
        raise UserError(f"there is no folder {path.absolute().parent} to write {path.name} in", "make it first, or name another file")
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.absolute().parent)
        with os.fdopen(handle, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files only their owner can read; give the mode that open() would have given.
        os.chmod(temporary, 0o666 & ~umask())
        os.replace(temporary, path)
    except OSError as problem:
        mend = "make room or choose another place, then run it again"
        raise UserError(f"cannot write {path}: {problem.strerror or problem}", mend) from problem
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
    return path


def umask() -> int:
    """Return the bits that new files and folders are not given. Asking means setting."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> Path:
    """Write ``text`` as UTF-8, whole or not at all. See ``write_whole``."""
    return write_whole(path, lambda stream: stream.write(text.encode("utf-8")))
