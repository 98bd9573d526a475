"""What turns texts into vectors of unit length, so that the inner product of two is the cosine of the angle between them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ..errors import UserError

READ = 256  # tokens of a passage that the encoder reads


class Embedder(Protocol):
    """What a vector store needs of an embedder."""

    id: str  # by which ``load_embedder`` finds it
    checksum: str  # of all that its vectors depend on
    dimension: int

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return one vector of unit length for each text: float32, of shape (texts, dimension)."""
        ...


class EncoderEmbedder:
    """A sentence encoder as an embedder: the mean of its states, see ``encoders``.

    Args:
        name: "minilm", "nano-embedder", a directory in the layout of Hugging Face or sentence-transformers, or a name on the hub, such as one of
            sentence-transformers'.

    Raises:
        UserError: as ``encoders.load_encoder`` does, and for an encoder whose files ask for something other than the mean.
    """

    def __init__(self, name: str):
        from ..encoders import MINILM, NANO, directory, load_encoder
        from ..models import checksums

        where = directory(name)
        _check_layout(where)
        self.id = name if name in (MINILM, NANO) or not Path(name).expanduser().is_dir() else str(where.resolve())
        self._encoder = load_encoder(str(where))
        self.checksum = hashlib.sha256(json.dumps([READ, checksums(where)]).encode()).hexdigest()
        self.dimension = int(self._encoder.model.config.hidden_size)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of texts, float32 of shape (texts, dimension); ``READ`` tokens of each are read."""
        return self._encoder.embed(texts, longest=READ)


def _check_layout(where: Path) -> None:
    """Raise UserError if sentence-transformers' files say that the vectors are not the mean of the states."""
    modules = where / "modules.json"
    if not modules.is_file():
        return
    try:
        kinds = [str(module["type"]).rpartition(".")[2] for module in json.loads(modules.read_text(encoding="utf-8"))]
        pooling = json.loads((where / "1_Pooling" / "config.json").read_text(encoding="utf-8")) if "Pooling" in kinds else {}
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(f"{where} is not laid out as sentence-transformers does it", "download it again") from None
    chosen = {name for name, on in pooling.items() if name.startswith("pooling_mode_") and on is True} or {"pooling_mode_mean_tokens"}
    if chosen != {"pooling_mode_mean_tokens"} or not set(kinds) <= {"Transformer", "Pooling", "Normalize"}:
        raise UserError(f"{where} does more than take the mean of its states", "choose an encoder with mean pooling, such as minilm")


def load_embedder(name: str | None = None) -> Embedder:
    """Return an embedder: "minilm", which is the default, "nano-embedder", or the directory or the hub name of a sentence encoder.

    "nano-embedder" is shipped and knows only the offline world, so it is never taken unasked. UserError as ``EncoderEmbedder``.
    """
    from ..encoders import MINILM

    return EncoderEmbedder(name or MINILM)


def checked(vectors: np.ndarray, n: int, embedder: Embedder) -> np.ndarray:
    """Return n vectors as float32. UserError if they are not n, not as wide as the embedder says, not finite, or not of unit length."""
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors.shape != (n, embedder.dimension):
        mend = f"give one a text, as {embedder.id} makes them"
        raise UserError(f"vectors have the shape {vectors.shape} and not {(n, embedder.dimension)}", mend)
    if not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3):  # false for what is not finite, too
        raise UserError("a vector is not of unit length", "divide each by its length")
    return vectors
