"""How fast the vector store is and how much it finds, from a thousand vectors to a million, beside comparing all of them.

Vectors and questions are drawn from a mixture fitted to real sentence embeddings, see ``mixture``. Both ways answer the same questions in
the same store and process: the index that the store has chosen for the size, and the comparison with every vector. Questions are asked
one at a time, as a reader asks them, and then all at once, where comparing with all is a product of matrices and gains most.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from ..errors import UserError
from ..files import write_text
from ..retrieval.passages import Passage
from ..retrieval.store import VectorStore
from ..settings import IndexBenchSettings
from ..stats import median_interval
from . import circumstances, results_file, write_results
from .mixture import FILE, Mixture, draw_noise, dumps, fit, load, neighbors, real_vectors

K = 10  # neighbors asked for
USERS = 1000  # among whom the vectors are divided
SINGLE = 10  # vectors that are added, and deleted, one at a time
COMPARED = 10_000  # vectors in the comparison of neighbors


@dataclass(frozen=True)
class Given:
    """Stands for an embedder where vectors come from elsewhere."""

    id: str
    checksum: str
    dimension: int

    def embed(self, texts: object) -> np.ndarray:
        raise UserError("this store of a bench embeds no texts", "give vectors")


def run_bench(asked: IndexBenchSettings, say: Callable[[str], None] = print) -> Path:
    """Measure the store at each size, write the results into ``bench-DEVICE.json`` after each, and return that file.

    Raises UserError for sizes that are no numbers above ``K``, as ``results_file`` does, and, if it is to fit texts, as ``real_vectors``.
    """
    sizes = _sizes(asked.sizes)
    path, before = results_file(asked.output)
    if asked.texts:
        write_text(FILE, dumps(fit(real_vectors(asked.texts))))
        say(f"{FILE}: fitted to {asked.texts:,} real texts.")
    mixture = load()
    facts = circumstances(asked, "index") | {
        "faiss": faiss.__version__, "faiss_threads": faiss.omp_get_max_threads(), "neighbors": _likeness(mixture, say),
    }
    rows: list[dict[str, Any]] = []
    for n in sizes:
        with tempfile.TemporaryDirectory(prefix="finetunelab-bench-") as folder:
            rows.append(_measure(n, asked.queries, mixture, Path(folder), say))
        write_results(path, before, facts | {"rows": rows})  # after each size, so that a run that is stopped has not been for nothing
    say(f"Written to {path}.")
    return path


def _sizes(text: str) -> list[int]:
    try:
        sizes = sorted({int(part.replace("_", "")) for part in text.split(",") if part.strip()})
    except ValueError:
        sizes = []
    if not sizes or sizes[0] <= K:
        raise UserError(f"sizes are {text!r}", f"give whole numbers above {K}, with commas")
    return sizes


def _likeness(mixture: Mixture, say: Callable[[str], None]) -> dict[str, dict[str, list[list[float]]]]:
    """Return how similar the nearest and the tenth nearest vectors are, by kind (real, mixture, noise) and number of vectors."""
    drawn, noise = mixture.draw(COMPARED, 0), draw_noise(COMPARED, len(mixture.mean))
    found = {"real": mixture.neighbors}
    for name, vectors in (("mixture", drawn), ("noise", noise)):
        found[name] = {size: neighbors(vectors[: int(size)]) for size in mixture.neighbors}
    for size in mixture.neighbors:
        middles = ", ".join(f"{name} {found[name][size][0][2]:.2f}" for name in found)
        say(f"Median similarity of the nearest among {int(size):,}: {middles}.")
    return found


def _timed(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return the seconds on the clock and of CPU time that a call took, and what it returned."""
    began, busy = time.perf_counter(), time.process_time()
    found = call()
    return time.perf_counter() - began, time.process_time() - busy, found


def _each(queries: np.ndarray, call: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    """Ask one at a time and return queries a second, with its interval, and the same by CPU time: medians."""
    call(queries[:1])
    taken = [_timed(lambda at=at: call(queries[at : at + 1]))[:2] for at in range(len(queries))]
    speed = median_interval([1 / seconds for seconds, _ in taken])
    busy = sum(seconds for _, seconds in taken)
    return {"per_second": speed.estimate, "interval": [speed.low, speed.high], "per_cpu_second": len(taken) / busy}


def _measure(n: int, asked: int, mixture: Mixture, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Fill a store with n vectors and return what its use takes."""
    width, queries, more = len(mixture.mean), mixture.draw(asked, 1), mixture.draw(SINGLE, 2)
    # In a file: a million vectors, those that the index is built from, and the index are together too much for many machines' memory.
    vectors = mixture.draw(n, 0, np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (n, width)))
    embedder, said = Given("bench", "0" * 64, width), []
    store = VectorStore(folder / "store", embedder, say=said.append)

    def passages(start: int, end: int) -> Iterator[Passage]:
        return (Passage(f"text {i}", {"user": i % USERS}, f"k{i}") for i in range(start, end))

    filling = _timed(lambda: store.add(passages(0, n), vectors))
    store.close()
    (folder / "vectors.npy").unlink()
    store = VectorStore(folder / "store", replace(embedder), existing=True)
    opening = _timed(lambda: store.nearest(queries[:1], K))
    sizes = {file.suffix: file.stat().st_size for file in (folder / "store").iterdir()}
    index = {"kind": store.kind, "reason": store.describe(), "file_bytes": sizes.get(".faiss", 0), "sqlite_bytes": sizes[".sqlite"]}
    truth, found = store.nearest(queries, K, exact=True)[1], store.nearest(queries, K)[1]
    speeds = {
        "one": _each(queries, lambda query: store.nearest(query, K)),
        "one_exact": _each(queries, lambda query: store.nearest(query, K, exact=True)),
        "with_texts": _each(queries, lambda query: store.search(query[0], K)),
        "filtered": _each(queries, lambda query: store.search(query[0], K, {"user": 7})),
    }
    batch, exact_batch = _timed(lambda: store.nearest(queries, K)), _timed(lambda: store.nearest(queries, K, exact=True))
    single = {
        "add": [_timed(lambda at=at: store.add(passages(n + at, n + at + 1), more[at : at + 1]))[0] for at in range(SINGLE)],
        "delete": [_timed(lambda at=at: store.delete([f"k{n + at}"]))[0] for at in range(SINGLE)],
    }
    row = {
        "vectors": n, **index, "bytes_a_vector": (index["file_bytes"] + index["sqlite_bytes"]) / n,
        "recall": float(np.mean([len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True)])) / K, **speeds,
        "of_exact": speeds["one"]["per_second"] / speeds["one_exact"]["per_second"],
        "cpu_of_exact": speeds["one"]["per_cpu_second"] / speeds["one_exact"]["per_cpu_second"],
        "batch_per_second": asked / batch[0], "batch_exact_per_second": asked / exact_batch[0],
        "batch_cpu_of_exact": exact_batch[1] / batch[1],
        "fill_seconds": filling[0], "fill_cpu_seconds": filling[1], "open_seconds": opening[0],
        **{f"{name}_seconds": median_interval(taken).estimate for name, taken in single.items()},
    }
    store.close()
    say(f"{n:,} vectors, {row['kind']}: {row['one']['per_second']:,.0f} queries a second one at a time, {row['of_exact']:.1f} times "
        f"as many as by comparing all ({row['cpu_of_exact']:.1f} by CPU time), recall@{K} {row['recall']:.3f}; "
        f"{row['bytes_a_vector']:,.0f} bytes a vector; "
        f"add one {row['add_seconds'] * 1000:.1f} ms, delete one {row['delete_seconds'] * 1000:.1f} ms; "
        f"filled in {row['fill_cpu_seconds']:.0f} s of CPU time.")
    return row
