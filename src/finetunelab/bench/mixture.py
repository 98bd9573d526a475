"""Vectors to measure an index with: a mixture fitted to the embeddings of real sentences, of which any number can be drawn.

Plain Gaussian noise will not do. In 384 dimensions all its vectors are nearly at right angles to one another, so that there are no
neighbors to find. Real sentences gather around topics, and within these around events. The mixture has three levels: topics, groups
within them, vectors within those, each normal, with the variances that k-means finds between and within its clusters. Groups differ in
size and in width, which gives some vectors close neighbors and others none. An index only compares vectors, so the axes do not matter:
the mixture is written along the principal components, and a few numbers for each of them are all of it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import faiss
import numpy as np

FILE = Path(__file__).with_name("mixture.json")
TOPICS, GROUPS = 20, 1000  # clusters of k-means, whose variances are those of the levels
DRAWN = 2000  # groups of the mixture
WIDTHS, SIZES = 0.3, 1.0  # spread of the logarithms of the groups' widths and sizes
OWN = 0.8  # the share of the variance within clusters that belongs to single vectors; what is left moves the groups' centers
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Mixture:
    """The mean, and the standard deviations of topics, groups and vectors, along the principal components, each of shape (width,).

    ``neighbors`` has, for some numbers n of real vectors, quantiles of the similarity of the nearest and the tenth nearest among them.
    """

    mean: np.ndarray
    topics: np.ndarray
    groups: np.ndarray
    own: np.ndarray
    neighbors: dict[str, list[list[float]]]

    def draw(self, n: int, seed: int, out: np.ndarray | None = None) -> np.ndarray:
        """Return n vectors of unit length, float32 of shape (n, width), in ``out`` if given. The groups are the same for every seed."""
        fixed, rng, width = np.random.default_rng(0), np.random.default_rng([1, seed]), len(self.mean)
        topics = fixed.normal(size=(TOPICS, width)) * self.topics
        centers = topics[fixed.integers(TOPICS, size=DRAWN)] + fixed.normal(size=(DRAWN, width)) * self.groups + self.mean
        centers, own = centers.astype(np.float32), self.own.astype(np.float32)
        widths = np.minimum(np.exp(WIDTHS * fixed.normal(size=DRAWN)), 1.6).astype(np.float32)
        sizes = np.exp(SIZES * fixed.normal(size=DRAWN))
        found = np.empty((n, width), dtype=np.float32) if out is None else out
        for start in range(0, n, 10_000):
            group = rng.choice(DRAWN, size=min(10_000, n - start), p=sizes / sizes.sum())
            part = centers[group] + rng.standard_normal((len(group), width), dtype=np.float32) * own * widths[group, None]
            found[start : start + len(group)] = part / np.linalg.norm(part, axis=1, keepdims=True)
        return found


def fit(vectors: np.ndarray) -> Mixture:
    """Fit the mixture to real vectors of shape (n, width) and unit length, in random order."""
    mean = vectors.mean(0)
    axes = np.linalg.eigh(np.cov((vectors - mean).T))[1][:, ::-1]
    along = np.ascontiguousarray((vectors - mean) @ axes, dtype=np.float32)
    total, topics, groups = along.var(0), _within(along, TOPICS), _within(along, GROUPS)
    between, among = np.maximum(total - topics, 0), np.maximum(topics - groups, 0)
    sizes = [n for n in (1000, 10_000) if n <= len(vectors)]
    known = {str(n): neighbors(vectors[:n]) for n in sizes}
    return Mixture(mean @ axes, between**0.5, (among + groups * (1 - OWN)) ** 0.5, (groups * OWN) ** 0.5, known)


def _within(vectors: np.ndarray, clusters: int) -> np.ndarray:
    """Return the variance within clusters of k-means along each axis, as if the centers were known and not fitted."""
    means = faiss.Kmeans(vectors.shape[1], clusters, niter=8, seed=1, min_points_per_centroid=1)
    means.train(vectors)
    label = means.index.search(vectors, 1)[1][:, 0]
    total = np.zeros((clusters, vectors.shape[1]))
    np.add.at(total, label, vectors)
    centers = total / np.maximum(np.bincount(label, minlength=clusters), 1)[:, None]
    return (vectors - centers[label]).var(0) * len(vectors) / (len(vectors) - clusters)


def draw_noise(n: int, width: int) -> np.ndarray:
    """Return n vectors of unit length, float32 of shape (n, width), in directions that know nothing of one another."""
    found = np.random.default_rng(0).standard_normal((n, width), dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def neighbors(vectors: np.ndarray, asked: int = 1000) -> list[list[float]]:
    """Return quantiles of the similarity of the nearest other vector, and of the tenth nearest, over the first ``asked`` vectors."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, dtype=np.float32))
    found = index.search(np.ascontiguousarray(vectors[:asked], dtype=np.float32), 11)[0]  # the first is the vector itself
    return [np.quantile(found[:, rank], QUANTILES).round(3).tolist() for rank in (1, 10)]


def dumps(mixture: Mixture) -> str:
    """Return a mixture as JSON, with four digits a number."""
    rounded = {name: value if isinstance(value, dict) else [float(f"{x:.4g}") for x in value] for name, value in asdict(mixture).items()}
    return json.dumps(rounded) + "\n"


def load(path: Path = FILE) -> Mixture:
    """Return the mixture that was fitted to the real encoder's vectors of news and of sentences from film reviews."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return Mixture(**{name: value if isinstance(value, dict) else np.array(value) for name, value in found.items()})


def real_vectors(n: int, seed: int = 0) -> np.ndarray:
    """Return the real encoder's vectors of n texts, six in ten of them news and the others sentences of film reviews, in random order.

    UserError where encoder or corpora are absent.
    """
    import random

    from ..encoders import load_encoder
    from ..real_data import corpus

    encoder, rng = load_encoder(), random.Random(seed)
    texts: list[str] = []
    for name, share in (("ag_news", 0.6), ("sst2", 0.4)):
        texts += rng.sample(corpus(name).texts, round(n * share))
    return encoder.embed(rng.sample(texts, len(texts)), longest=128)
