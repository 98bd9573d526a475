"""FAISS: which kind of index suits how many vectors, and searching one for what may be returned.

Three kinds. *Flat* compares the query with every vector. *IVF* (inverted file: Sivic & Zisserman, 2003) sorts the vectors into cells
around centers and looks into the cells nearest to the query. *HNSW* (Malkov & Yashunin, 2016) links each vector to near ones, and walks
from link to link toward the query. The last two miss some neighbors: how hard they look is set while building, so that they find
``RECALL`` of the ten nearest.
"""

from __future__ import annotations

from typing import IO

import faiss
import numpy as np

from ..errors import UserError

FLAT, IVF, HNSW = "flat", "ivf", "hnsw"
# Vectors, up to which a kind is chosen. At a million of the bench's mixture, cells are filled in half the CPU time of a graph with the settings
# below, and find .985 of the ten nearest 126 times as fast as comparing all; the graph finds .956 of them 26 times as fast, .982 four times. Filling
# cells takes as long as n to the 1.5, linking little more than n: about equally long at four million.
FLAT_MOST, IVF_MOST = 20_000, 4_000_000
RECALL = 0.98  # of the ten nearest vectors, to be found by an index that does not compare all
SAMPLE = 300  # vectors on which that is measured
LINKS, BREADTH = 32, 40  # of HNSW: twice as many links on the ground floor; how many candidates are kept while a vector is linked
SEED = 0


def choose(n: int, now: str | None = None) -> tuple[str, str]:
    """Return the kind of index for n vectors, with the reason. What it is ``now`` stays while n is within a quarter of its bounds."""
    kind = next(kind for kind, most in ((FLAT, FLAT_MOST), (IVF, IVF_MOST), (HNSW, n)) if n <= most)
    if now is not None and kind != now and now in {choose(int(n * share))[0] for share in (0.8, 1.25)}:
        kind = now
    reasons = {
        FLAT: "so few that comparing the query with each takes milliseconds, and misses none",
        IVF: "too many to compare the query with each; a search looks into a few of the cells that they are sorted into",
        HNSW: "so many that sorting them into cells would take longer than linking neighbors; a search follows a few links",
    }
    return kind, f"{kind}, because {n:,} vectors are {reasons[kind]}"


class Index:
    """Vectors with their numbers in one FAISS index, and which of them may still be found.

    Args:
        kind: "flat", "ivf" or "hnsw".
        index: of FAISS, over inner products.
        numbers: of the vectors in it, ascending, of shape (n,).
        effort: cells that a search looks into, or candidates that it keeps; 0 for a flat one.
        recall: the share of the ten nearest found at this effort, when it was built.
    """

    def __init__(self, kind: str, index: faiss.Index, numbers: np.ndarray, effort: int = 0, recall: float = 1.0):
        self.kind, self.index, self.numbers, self.effort, self.recall = kind, index, numbers, effort, recall
        self.alive = np.ones(len(numbers), dtype=bool)

    @classmethod
    def build(cls, kind: str, numbers: np.ndarray, vectors: np.ndarray) -> Index:
        """Return an index over vectors of shape (n, width) and unit length. It copies them: there must be room for both."""
        n, width = vectors.shape
        sample = np.sort(np.random.default_rng(SEED).choice(n, min(SAMPLE, n // 2), replace=False))
        if kind == FLAT:
            made = faiss.IndexFlatIP(width)
        elif kind == IVF:
            cells = max(1, min(int(4 * n**0.5), n // 8))
            made = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, cells, faiss.METRIC_INNER_PRODUCT)
            made.cp.seed, made.cp.max_points_per_centroid, made.cp.min_points_per_centroid = SEED + 1, 64, 1
            drawn = np.random.default_rng(SEED).choice(n, min(n, made.cp.max_points_per_centroid * cells), replace=False)
            # The sample will stand for questions; centers that had seen it would flatter the index.
            made.train(vectors[np.setdiff1d(drawn, sample)])
        else:
            made = faiss.IndexHNSWFlat(width, LINKS, faiss.METRIC_INNER_PRODUCT)
            made.hnsw.efConstruction = BREADTH
        made.add(vectors)
        found = cls(kind, made, numbers)
        if len(sample) and kind != FLAT:
            found._tune(vectors[sample])
        return found

    def _tune(self, queries: np.ndarray) -> None:
        """Double the effort until these vectors of the index find ``RECALL`` of their ten nearest, or until nothing is left to try."""
        n = len(self.numbers)
        k = min(11, n)  # a vector finds itself too
        truth = self._ask(queries, k, None, exact=True)[1]
        self.effort = 4 if self.kind == IVF else 16
        while True:
            found = self._ask(queries, k, None, exact=False)[1]
            self.recall = float(np.mean([len(np.intersect1d(a, b)) - 1 for a, b in zip(found, truth, strict=True)])) / max(1, k - 1)
            if self.recall >= RECALL or self.effort >= n:
                return
            self.effort *= 2

    def add(self, numbers: np.ndarray, vectors: np.ndarray) -> None:
        """Put further vectors behind, with greater numbers."""
        self.index.add(vectors)
        self.numbers = np.concatenate([self.numbers, numbers])
        self.alive = np.concatenate([self.alive, np.ones(len(numbers), dtype=bool)])

    def forget(self, numbers: np.ndarray) -> None:
        """Never return these again. They stay in the index until it is built anew: HNSW needs them as steps on the way to others."""
        self.alive[self.places(numbers)] = False

    def keep(self, numbers: np.ndarray) -> None:
        """Never return any but these again."""
        self.alive = self._among(numbers)

    def _among(self, numbers: np.ndarray) -> np.ndarray:
        """Return which of the vectors may be returned and have one of these numbers."""
        found = np.zeros_like(self.alive)
        found[self.places(numbers)] = True
        return found & self.alive

    def places(self, numbers: np.ndarray) -> np.ndarray:
        """Return where in the index these numbers are; those that are not in it are left out."""
        places = np.searchsorted(self.numbers, numbers)
        inside = places < len(self.numbers)
        return places[inside][self.numbers[places[inside]] == np.asarray(numbers)[inside]]

    def describe(self) -> str:
        """Return in one line how hard a search looks, and what that finds."""
        looked = f"looks into {self.effort:,} of {self.index.nlist:,} cells" if self.kind == IVF else f"keeps {self.effort:,} candidates"
        return f"A search {looked}; that found {self.recall:.0%} of the ten nearest to a sample of the vectors."

    @property
    def count(self) -> int:
        """How many are in it that may be returned."""
        return int(np.count_nonzero(self.alive))

    @property
    def dead(self) -> int:
        """How many are in it that are never returned."""
        return len(self.alive) - self.count

    def search(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None, exact: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return similarities and numbers of the best k, both of shape (queries, k), best first; number -1 where there are fewer.

        ``allowed`` are the numbers that may be returned, ascending, None for all. With it, or where ``exact``, all that may be returned are
        compared, so that a filter costs no neighbor.
        """
        may = self.alive if allowed is None else self._among(allowed)
        count = int(np.count_nonzero(may))
        similarities, numbers = (np.full((len(queries), k), fill) for fill in (np.float32(-np.inf), np.int64(-1)))
        most = min(k, count)
        if most == 0:
            return similarities, numbers
        selector = None if count == len(may) else faiss.IDSelectorBitmap(np.packbits(may, bitorder="little"))
        exact = exact or allowed is not None or self.kind == FLAT
        found, places = self._ask(queries, most, selector, exact)
        if not exact and (places < 0).any():  # the walk ended among deleted ones
            found, places = self._ask(queries, most, selector, exact=True)
        similarities[:, :most], numbers[:, :most] = found, self.numbers[places]
        return similarities, numbers

    def _ask(self, queries: np.ndarray, k: int, selector: faiss.IDSelector | None, exact: bool) -> tuple[np.ndarray, np.ndarray]:
        index = self.index
        if self.kind == IVF:
            params = faiss.SearchParametersIVF(sel=selector, nprobe=index.nlist if exact else min(self.effort, index.nlist))
        elif self.kind == HNSW and not exact:
            params = faiss.SearchParametersHNSW(sel=selector, efSearch=max(self.effort, k))
        else:
            index = faiss.downcast_index(index.storage) if self.kind == HNSW else index
            params = faiss.SearchParameters(sel=selector)
        return index.search(np.ascontiguousarray(queries, dtype=np.float32), k, params=params)

    def write(self, stream: IO[bytes]) -> None:
        """Write numbers and index to a stream; ``read`` takes them back."""
        np.save(stream, self.numbers)
        np.save(stream, np.array([self.effort, self.recall]))
        faiss.write_index(self.index, faiss.PyCallbackIOWriter(stream.write))

    @classmethod
    def read(cls, stream: IO[bytes], kind: str, width: int) -> Index:
        """Read an index of this kind and width. UserError if that is not what the stream holds."""
        try:
            numbers, (effort, recall) = np.load(stream, allow_pickle=False), np.load(stream, allow_pickle=False)
            index = faiss.read_index(faiss.PyCallbackIOReader(stream.read))
        except (ValueError, RuntimeError, EOFError, OSError) as problem:
            raise UserError("it is truncated, or no index", "build it anew") from problem
        known = {IVF: faiss.IndexIVFFlat, HNSW: faiss.IndexHNSWFlat}
        if not isinstance(index, known[kind]) or index.d != width or index.ntotal != len(numbers):
            raise UserError("it is another index", "build it anew")
        return cls(kind, index, numbers, int(effort), float(recall))
