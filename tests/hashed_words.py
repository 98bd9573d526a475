"""A stand-in for an embedder: words are hashed to the numbers of a vector, so that texts are alike when they share words."""

import re
import zlib

import numpy as np


class HashedWords:
    """Counts what it is asked, in ``asked``."""

    def __init__(self, id="words", checksum="0" * 64, dimension=64):
        self.id, self.checksum, self.dimension, self.asked = id, checksum, dimension, []

    def embed(self, texts):
        self.asked += texts
        found = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(found, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                row += np.random.default_rng(zlib.crc32(word.encode())).normal(size=self.dimension)
        return found / np.linalg.norm(found, axis=1, keepdims=True)
