"""The vector store: it finds what it should and nothing else, whatever was deleted, killed, filtered or going on elsewhere."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from datetime import date, datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from hashed_words import HashedWords

from finetunelab.errors import UserError
from finetunelab.retrieval import derived, indexes
from finetunelab.retrieval.passages import Between, Passage, condition
from finetunelab.retrieval.store import Changes, VectorStore, embedder_of

WIDTH = 64


@pytest.fixture
def small(monkeypatch):
    """Bounds at which a store of 100 passages has cells and one of 300 links."""
    monkeypatch.setattr(indexes, "FLAT_MOST", 80)
    monkeypatch.setattr(derived, "FLAT_MOST", 80)
    monkeypatch.setattr(indexes, "IVF_MOST", 200)


def units(n, seed=0):
    found = np.random.default_rng(seed).normal(size=(n, WIDTH)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def numbered(n, start=0):
    return [
        Passage(f"text {i} of {i % 7}", {"user": f"u{i % 7}", "n": i, "date": date(2026, 1, 1 + i % 28)}, f"k{i}")
        for i in range(start, start + n)
    ]


def keys(hits):
    return [hit.passage.key for hit in hits]


def best(vectors, query, k, allowed=None):
    """The k best of these vectors by plain arithmetic, as keys."""
    allowed = range(len(vectors)) if allowed is None else allowed
    return [f"k{i}" for i in sorted(allowed, key=lambda i: -float(vectors[i] @ query))[:k]]


def files_hold(folder, content: bytes) -> list[str]:
    return [path.name for path in folder.iterdir() if content in path.read_bytes()]


def test_the_nearest_passages_come_first_with_what_is_known_of_them(tmp_path):
    store = VectorStore(tmp_path / "s", HashedWords())
    added = store.add([
        Passage("The bakery opens at six.", {"user": "Ann", "date": date(2026, 3, 1), "price": 1.5}, "bakery"),
        Passage("The library closes on Mondays.", {"user": "Bob"}), Passage("Ann's cat is called Pumpkin.", {"user": "Ann"}),
    ])
    assert added == Changes(new=3) and len(store) == 3
    question = "When does the bakery open? At six?"
    first, *rest = store.search(question, k=3)
    assert first.passage.key == "bakery" and first.passage.metadata == {"user": "Ann", "date": "2026-03-01", "price": 1.5}
    one, other = HashedWords().embed([first.passage.text, question])
    assert first.similarity == pytest.approx(float(one @ other), abs=1e-5)
    assert first.similarity > rest[0].similarity >= rest[1].similarity and len(store.search("six", k=9)) == 3
    assert VectorStore(tmp_path / "t", HashedWords()).search("six") == []


def test_adding_again_embeds_nothing_and_an_update_replaces(tmp_path):
    embedder = HashedWords()
    store = VectorStore(tmp_path / "s", embedder)
    store.add(numbered(5))
    embedder.asked.clear()
    assert store.add(numbered(6)) == Changes(new=1, same=5) and embedder.asked == ["text 5 of 5"]
    embedder.asked.clear()
    moved = Passage("text 0 of 0", {"user": "else"}, "k0")  # other metadata, the same text: the vector is kept
    assert store.add([moved]) == Changes(changed=1) and embedder.asked == []
    assert store.search("text 0 of 0", 1)[0].passage == moved and store.search("text 0 of 0", 1)[0].similarity == pytest.approx(1, abs=1e-5)
    assert store.add([Passage("now of pears", {}, "k1")]) == Changes(changed=1) and len(store) == 6
    assert keys(store.search("pears", 1)) == ["k1"] and "text 1 of 1" not in [hit.passage.text for hit in store.search("text 1 of 1", 9)]
    assert store.add([Passage("one", {}, "twice"), Passage("two", {}, "twice")]) == Changes(new=1)
    assert [p.text for p in store.passages() if p.key == "twice"] == ["two"]


@pytest.mark.parametrize(("n", "kind"), [(60, "flat"), (150, "ivf"), (400, "hnsw")])
def test_filters_return_the_best_of_what_they_allow(tmp_path, small, n, kind):
    vectors, queries = units(n), units(20, 1)
    store = VectorStore(tmp_path / "s", HashedWords(dimension=WIDTH))
    store.add(numbered(n), vectors)
    store.delete([f"k{i}" for i in range(0, n, 10)])
    assert store.describe().split("Index: ")[1].startswith(kind)
    filters = [
        ({"user": "u3"}, lambda i: i % 7 == 3), ({"user": "u3", "n": 3}, lambda i: i == 3),
        ({"n": Between(20, 25)}, lambda i: 20 <= i <= 25),
        ({"date": Between(date(2026, 1, 5), date(2026, 1, 6)), "user": "u4"}, lambda i: i % 28 in (4, 5) and i % 7 == 4),
        ({"user": "nobody"}, lambda i: False), ({"date": Between(low="2026-01-20")}, lambda i: i % 28 >= 19),
    ]
    for where, allows in filters:
        allowed = [i for i in range(n) if allows(i) and i % 10]
        for query in queries:
            assert keys(store.search(query, 4, where)) == best(vectors, query, 4, allowed)
    if kind == "flat":
        assert all(keys(store.search(query, 1)) == best(vectors, query, 1, [i for i in range(n) if i % 10]) for query in queries)


@pytest.mark.parametrize(("n", "kind"), [(150, "ivf"), (400, "hnsw")])
def test_an_index_that_does_not_compare_all_finds_most_and_exact_finds_all(tmp_path, small, n, kind):
    vectors, queries = units(n), units(50, 1)
    said = []
    store = VectorStore(tmp_path / "s", HashedWords(dimension=WIDTH), say=said.append)
    store.add(numbered(n), vectors)
    assert len(said) == 1 and said[0].startswith(f"Index: {kind}, because {n} vectors are ")
    assert len(list((tmp_path / "s").glob("*.faiss"))) == 1
    truth = np.argsort(-queries @ vectors.T, axis=1)[:, :10] + 1
    similarities, exact = store.nearest(queries, 10, exact=True)
    assert np.array_equal(exact, truth) and np.allclose(similarities, np.take_along_axis(queries @ vectors.T, truth - 1, 1), atol=1e-5)
    found = store.nearest(queries, 10)[1]
    assert np.mean([len(set(a) & set(b)) for a, b in zip(found, truth)]) >= 9
    again = VectorStore(tmp_path / "s", HashedWords(dimension=WIDTH))
    assert np.array_equal(again.nearest(queries, 10)[1], found)


def test_the_kind_of_index_follows_the_size_with_some_inertia():
    kinds = [indexes.choose(n)[0] for n in (1, indexes.FLAT_MOST, indexes.FLAT_MOST + 1, indexes.IVF_MOST, indexes.IVF_MOST + 1, 10**7)]
    assert kinds == ["flat", "flat", "ivf", "ivf", "hnsw", "hnsw"]
    assert indexes.choose(indexes.FLAT_MOST + 1, "flat")[0] == "flat" and indexes.choose(indexes.FLAT_MOST * 2, "flat")[0] == "ivf"
    assert indexes.choose(indexes.FLAT_MOST - 1, "ivf")[0] == "ivf" and indexes.choose(indexes.FLAT_MOST // 2, "ivf")[0] == "flat"
    assert indexes.choose(indexes.IVF_MOST - 1, "hnsw")[0] == "hnsw" and indexes.choose(100, "hnsw")[0] == "flat"


@pytest.mark.parametrize("n", [60, 150, 400])
def test_a_deleted_text_never_comes_back(tmp_path, small, n):
    vectors = units(n)
    store, other = (VectorStore(tmp_path / "s", HashedWords(dimension=WIDTH)) for _ in range(2))
    store.add(numbered(n), vectors)
    other.search(vectors[0])  # has the index in memory
    gone = list(range(0, n, 7))  # fewer than a fifth: the index keeps their vectors
    before = sorted(path.name for path in (tmp_path / "s").glob("*.faiss"))
    assert store.delete(where={"user": "u0"}) == len(gone) and store.delete(["k0", "nowhere"]) == 0
    assert sorted(path.name for path in (tmp_path / "s").glob("*.faiss")) == before

    def absent(store):
        for i in gone:
            assert f"k{i}" not in keys(store.search(vectors[i], 5)) and len(store.search(vectors[i], 5)) == 5
            assert store.search(vectors[i], 5, {"user": "u0"}) == []
        assert len(store) == n - len(gone) == len(list(store.passages())) and not any(p.metadata["user"] == "u0" for p in store.passages())

    absent(store)
    absent(other)  # a process that read it before
    absent(VectorStore(tmp_path / "s", HashedWords(dimension=WIDTH)))
    more = [i for i in range(n) if i % 7 == 1]
    assert store.delete([f"k{i}" for i in more]) == len(more)  # more than a fifth: built anew
    gone += more
    assert not (names := sorted(path.name for path in (tmp_path / "s").glob("*.faiss"))) or names != before
    for one in (store, other, VectorStore(tmp_path / "s", HashedWords(dimension=WIDTH))):
        assert not any(f"k{i}" in keys(one.search(vectors[i], 5)) for i in gone)
    store.add([Passage("text 0 of 0 again", {"user": "u0"}, "k0")], vectors[:1])
    assert keys(other.search(vectors[0], 1)) == ["k0"] and other.search(vectors[0], 1)[0].passage.text.endswith("again")


def test_what_was_deleted_is_gone_from_the_files(tmp_path, small):
    secret, folder = "the code of the safe is 4711", tmp_path / "s"
    store = VectorStore(folder, HashedWords(dimension=WIDTH))
    vectors = units(150)
    store.add([*numbered(149), Passage(secret, {"user": "Zenobia"}, "the secret key")], vectors)
    vector = vectors[-1].tobytes()
    held = files_hold(folder, secret.encode()) + files_hold(folder, b"Zenobia")
    assert "passages.sqlite" in held or "passages.sqlite-wal" in held
    assert [name for name in files_hold(folder, vector) if name.endswith(".faiss")]
    store.delete(["the secret key"])
    for content in (secret.encode(), b"Zenobia", b"the secret key"):
        assert files_hold(folder, content) == []
    assert [Path(name).suffix for name in files_hold(folder, vector)] == [".faiss"], "until the index is built anew"
    store.purge()
    assert files_hold(folder, vector) == [] and len(store) == 149 and keys(store.search(vectors[3], 1)) == ["k3"]


def test_purging_gives_room_back_and_says_if_a_reader_is_in_the_way(tmp_path, monkeypatch):
    from finetunelab.retrieval import store as module

    folder = tmp_path / "s"
    store = VectorStore(folder, HashedWords(dimension=WIDTH))
    store.add(numbered(1000), units(1000))
    store.delete([f"k{i}" for i in range(990)])
    store.purge()
    assert (folder / "passages.sqlite").stat().st_size < 150_000 and len(store) == 10
    reader = sqlite3.connect(folder / "passages.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM passages").fetchone()
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    with pytest.raises(UserError, match="another process is reading .*; purge again when it is done"):
        store.purge()
    reader.execute("ROLLBACK")
    store.purge()


# A process that is killed before each of its writes in turn. It forks, so that starting it takes no time; the parent looks at what is left.
KILLED = """
import json, os, shutil, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from hashed_words import HashedWords
from finetunelab.retrieval import derived, indexes, store as module
from finetunelab.retrieval.passages import Passage
from finetunelab.retrieval.store import VectorStore
indexes.FLAT_MOST = derived.FLAT_MOST = 3
indexes.IVF_MOST, module.BATCH = 5, 4
folder = Path(sys.argv[1]) / "s"
texts = lambda names, word="": [Passage(f"{name} {word}", {"of": name}, name) for name in names]
STEPS = [
    lambda s: s.add(texts("ab")), lambda s: s.add(texts("cdef")), lambda s: s.add(texts("gh")), lambda s: s.add(texts("ab", "new")),
    lambda s: s.delete("cd"), lambda s: s.add(texts("c", "again")), lambda s: s.delete(where={"of": "e"}), lambda s: s.purge(),
]
left, limit = 0, None
# What a kill cannot undo, and only a power cut could, need not reach the disk: that saves most of the time.
plain = module.Database.ask
module.Database.ask = lambda self, statement, *values: plain(self, statement.replace("synchronous = FULL", "synchronous = OFF"), *values)
def step(*_):
    global left
    left += 1
    if limit is not None and left > limit:
        os.kill(os.getpid(), signal.SIGKILL)
def hooked(function):
    return lambda *args, **named: (step(), function(*args, **named))[1]
WRITES = ("INSERT", "DELETE", "COMMIT", "VACUUM", "CREATE", "PRAGMA application_id =", "PRAGMA user_version =", "PRAGMA wal", "PRAGMA jour")
def run(states=None):
    ask = module.Database.ask
    module.Database.ask = lambda self, statement, *values: (statement.startswith(WRITES) and step(), ask(self, statement, *values))[1]
    module.Database.insert = hooked(module.Database.insert)
    os.replace, os.fsync, Path.unlink = hooked(os.replace), hooked(lambda file: None), hooked(Path.unlink)
    store = VectorStore(folder, HashedWords())
    for one in STEPS:
        if states is not None:
            states.append(content(store))
        one(store)
    if states is not None:
        states.append(content(store))
def content(store):
    return sorted((p.key, p.text) for p in store.passages())
def child(states=None):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        found = [] if states is None else None
        run(found)
        os.write(writer, json.dumps(found).encode())
        os._exit(0)
    os.close(writer)
    said = b"".join(iter(lambda: os.read(reader, 65536), b""))
    os.close(reader)
    return os.waitpid(pid, 0)[1], json.loads(said) if said else None
_, states = child()
shutil.rmtree(folder)
states = [[tuple(row) for row in state] for state in states]
seen, indexed, limit = [], 0, -1
while True:
    limit += 1
    status, _ = child(states)
    if status == 0:
        break
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (limit, status)
    said = []
    store = VectorStore(folder, HashedWords(), say=said.append)
    found = content(store)
    assert found in states, (limit, found)
    seen.append(max(i for i, state in enumerate(states) if state == found))
    hits = store.search("a b c d e f g h new again", 20)
    assert sorted((hit.passage.key, hit.passage.text) for hit in hits) == found, (limit, hits)
    assert not said, (limit, said)  # the index file that SQLite names is there and whole
    indexed += store.describe().startswith(f"{len(found)} passages. Index: hnsw")
    store.add(texts("z"))
    store.purge()
    names = {path.name for path in folder.iterdir()}
    assert not [name for name in names if name.endswith(".part")] and sum(name.endswith(".faiss") for name in names) <= 1, (limit, names)
    gone = {text for state in states for _, text in state} - {text for _, text in content(store)}
    assert not gone & {hit.passage.text for hit in store.search("a b c d e f g h new again", 20)}
    store.close()
    shutil.rmtree(folder)
print(json.dumps([limit, seen, indexed, len(states)]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_killed_before_any_write_leaves_the_last_consistent_state(tmp_path):
    tests = str(Path(__file__).parent)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), tests], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    total, seen, indexed, states = json.loads(done.stdout)
    assert total > 100 and seen == sorted(seen), "who is killed later has done more"
    assert set(seen) >= set(range(1, states - 2)) and indexed > 20


# Adds, changes and deletes until its input ends; every version of a text is valid only together with its number.
WRITER = """
import sys, threading
sys.path.insert(0, sys.argv[2])
from hashed_words import HashedWords
from finetunelab.retrieval import derived, indexes
from finetunelab.retrieval.passages import Passage
from finetunelab.retrieval.store import VectorStore
indexes.FLAT_MOST = derived.FLAT_MOST = 30
indexes.IVF_MOST = 60
store = VectorStore(sys.argv[1], HashedWords())
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
turn = 0
while not ended.is_set():
    store.add(Passage(f"pears {i} {turn}", {"turn": turn, "of": "writer"}, f"w{i}") for i in range(45 + 40 * (turn % 2)))
    store.delete([f"w{i}" for i in range(45, 85)])
    turn += 1
    print(turn, flush=True)
"""


def test_others_read_while_one_writes(tmp_path, small):
    folder = tmp_path / "s"
    mine = VectorStore(folder, HashedWords())
    mine.add([Passage("apples of mine", {"of": "reader"}, "mine")])
    command = [sys.executable, "-c", WRITER, str(folder), str(Path(__file__).parent)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline()
    kinds, turns, until = set(), set(), time.monotonic() + 60
    while (len(turns) < 4 or not kinds) and time.monotonic() < until:
        assert [hit.passage.text for hit in mine.search("apples of mine", 1)] == ["apples of mine"]
        assert keys(mine.search("pears", 3, {"of": "reader"})) == ["mine"]
        hits = mine.search("pears 3 1", 50)
        assert len({hit.passage.key for hit in hits}) == len(hits) >= 46
        seen = {hit.passage.metadata["turn"] for hit in hits if hit.passage.key != "mine"}
        assert len(seen) == 1, "one state of the store, not two"
        turns |= seen
        kinds |= {path.name.partition("-")[0] for path in folder.glob("*.faiss")}
    process.communicate("")
    assert process.returncode == 0 and len(turns) >= 4 and kinds, "it wrote, and built indexes, while the other read"


def test_another_embedder_is_refused(tmp_path):
    VectorStore(tmp_path / "s", HashedWords()).add(numbered(3))
    before = (tmp_path / "s" / "passages.sqlite").read_bytes()
    for other in (HashedWords("letters"), HashedWords(checksum="1" * 64), HashedWords(dimension=32)):
        told = r"was made with the embedder words \(checksum 000000000000, 64 numbers\), and this is .*; open it with that one"
        with pytest.raises(UserError, match=told):
            VectorStore(tmp_path / "s", other)
    assert (tmp_path / "s" / "passages.sqlite").read_bytes() == before and embedder_of(tmp_path / "s") == "words"


def test_truncated_and_foreign_files_are_refused_and_left_alone(tmp_path, small):
    embedder, folder = HashedWords(dimension=WIDTH), tmp_path / "s"
    store = VectorStore(folder, embedder)
    store.add(numbered(150), units(150))
    store.close()
    whole = (folder / "passages.sqlite").read_bytes()

    def refused(content, told):
        (folder / "passages.sqlite").write_bytes(content)
        with pytest.raises(UserError, match=told) as problem:
            VectorStore(folder, embedder).search(units(1)[0], 200)
        assert "\n" not in str(problem.value) and (folder / "passages.sqlite").read_bytes() == content

    refused(whole[: len(whole) // 2], "malformed; restore it from a copy")
    refused(whole[:5000], "malformed; restore|not a database; name another")
    refused(b"a text, no database" * 100, "not a database; name another file")
    sqlite3.connect(tmp_path / "foreign").execute("CREATE TABLE mine (x)").connection.close()
    refused((tmp_path / "foreign").read_bytes(), "database of another program; name a new file")
    with pytest.raises(UserError, match="there is no vector store .*; make one first"):
        VectorStore(tmp_path / "nowhere", embedder, existing=True)
    with pytest.raises(UserError, match="holds other things; name a new folder"):
        VectorStore(tmp_path, embedder)
    with pytest.raises(UserError, match="is a file; a vector store is a folder"):
        VectorStore(tmp_path / "foreign", embedder)
    with pytest.raises(UserError, match="cannot make the folder"):
        VectorStore(tmp_path / "no" / "where", embedder)


@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign", "of another width"])
def test_a_damaged_index_file_costs_time_and_no_passage(tmp_path, small, damage):
    folder, vectors = tmp_path / "s", units(150)
    VectorStore(folder, HashedWords(dimension=WIDTH)).add(numbered(150), vectors)
    [file] = folder.glob("*.faiss")
    content = file.read_bytes()
    if damage == "of another width":
        other = indexes.Index.build("ivf", np.arange(1, 151), np.ascontiguousarray(vectors[:, :8]))
        with open(file, "wb") as stream:
            other.write(stream)
    else:
        file.write_bytes({"truncated": content[:-1000], "foreign": b"x" * 5000, "missing": b""}[damage])
    if damage == "missing":
        file.unlink()
    said = []
    store = VectorStore(folder, HashedWords(dimension=WIDTH), say=said.append)
    assert keys(store.search(vectors[9], 3)) == best(vectors, vectors[9], 3)
    assert len(said) == 1 and "cannot be used: " in said[0] and "All vectors are compared until" in said[0]
    store.delete(["k0"])
    assert "ivf, because 149 vectors" in said[1] and list(folder.glob("*.faiss")) != [file] and keys(store.search(vectors[9], 1)) == ["k9"]


def test_a_full_disk_keeps_what_was_there(tmp_path):
    store = VectorStore(tmp_path / "s", HashedWords(dimension=WIDTH))
    store.add(numbered(10), units(10))
    pages = store._database.ask("PRAGMA page_count")[0][0]
    store._database.ask(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(UserError, match="full; make room"):
        store.add(numbered(5000, 10), units(5000))
    assert len(store) == 10 and len(store.search(units(1)[0], 20)) == 10


def test_many_deletions_are_taken_in_by_who_was_away(tmp_path, monkeypatch):
    from finetunelab.retrieval import store as module

    monkeypatch.setattr(module, "REMEMBERED", 5)
    store, away = (VectorStore(tmp_path / "s", HashedWords(dimension=WIDTH)) for _ in range(2))
    vectors = units(40)
    store.add(numbered(40), vectors)
    away.search(vectors[0])
    for i in range(20):
        store.delete([f"k{i}"])
    assert not any(keys(away.search(vectors[i], 1)) == [f"k{i}"] for i in range(20)) and len(away.search(vectors[0], 40)) == 20


def test_ranges_hold_days_times_and_numbers_apart(tmp_path):
    store = VectorStore(tmp_path / "s", HashedWords())
    late = datetime(2026, 5, 2, 23, 30, tzinfo=timezone.utc)
    values = {"day": date(2026, 5, 2), "time": datetime(2026, 5, 2, 18, 30), "zone": late, "number": 7, "text": "x",
              "next": date(2026, 5, 3)}
    store.add(Passage(name, {"when": value}, name) for name, value in values.items())

    def found(where):
        return {hit.passage.key for hit in store.search("day", 9, where)}

    assert found({"when": Between(date(2026, 5, 2), date(2026, 5, 2))}) == {"day", "time", "zone"}
    assert found({"when": Between("2026-05-02T12:00", "2026-05-02T20:00")}) == {"time"}
    assert found({"when": Between(1)}) == {"number"}
    assert found({"when": Between(high=7.5)}) == {"number"} and found({"when": 7.0}) == {"number"}
    assert found({"when": "7"}) == set() and found({"when": date(2026, 5, 3)}) == {"next"} and found({"other": 7}) == set()


@pytest.mark.parametrize(
    ("call", "cause"),
    [
        (lambda s: s.search("x", 0), "0 passages were asked for"), (lambda s: s.search(" "), "the question is empty"),
        (lambda s: s.search("x", 1, {"user": None}), "None cannot be the value of 'user'"),
        (lambda s: s.search("x", 1, {"user": ["a"]}), "cannot be the value"), (lambda s: s.search("x", 1, {"n": Between()}), "no bound"),
        (lambda s: s.search("x", 1, {"n": Between(1, "b")}), "two kinds of bounds"), (lambda s: s.search(np.ones(3), 1), "have the shape"),
        (lambda s: s.search(np.ones(64), 1), "not of unit length"), (lambda s: s.search(np.full(64, np.nan), 1), "not of unit length"),
        (lambda s: s.add([Passage("  ")]), "has no text"), (lambda s: s.add([Passage("x", {"n": float("nan")})]), "cannot be the value"),
        (lambda s: s.add([Passage("x", {"n": 2**70})]), "cannot be the value"),
        (lambda s: s.add([Passage("x")], np.ones((2, 64))), "not of unit|shape"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, call, cause):
    store = VectorStore(tmp_path / "s", HashedWords())
    store.add(numbered(3))
    with pytest.raises(UserError, match=cause):
        call(store)
    assert len(store) == 3


def test_an_embedder_that_breaks_its_promise_adds_nothing(tmp_path):
    embedder = HashedWords()
    store = VectorStore(tmp_path / "s", embedder)
    store.add(numbered(2))
    embedder.embed = lambda texts: np.ones((len(texts), 64), dtype=np.float32)
    with pytest.raises(UserError, match="not of unit length"):
        store.add(numbered(5))
    assert len(store) == 2


def test_a_filter_is_no_way_into_sql(tmp_path):
    store = VectorStore(tmp_path / "s", HashedWords(id="it's; DROP TABLE passages"))
    store.add(numbered(3))
    assert store.search("text", 3, {"user' OR 1=1 --": "u0"}) == [] and store.search("text", 3, {"user": "u0' OR '1'='1"}) == []
    assert embedder_of(tmp_path / "s").startswith("it's")
    assert condition({"a": 1}) == ("SELECT number FROM facts WHERE name = ? AND value = ?", ["a", 1])
