"""A reader's own folder as a vector store: ``finetunelab index DIR`` and ``finetunelab ask``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import UserError
from ..settings import AskSettings, IndexSettings
from .chunks import SUFFIXES, chunks, read_document
from .embedders import load_embedder
from .passages import Hit, Passage
from .store import FILE, VectorStore, embedder_of


def documents(folder: Path) -> list[Path]:
    """Return the Markdown, text and PDF files in a folder and below it, in order, hidden ones left out. UserError if it is no folder."""
    if not folder.is_dir():
        cause = f"{folder} is a file" if folder.exists() else f"there is no folder {folder}"
        raise UserError(cause, "name the folder that holds your documents")
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place) / name for name in sorted(names) if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES]
    return found


def passages_of(file: Path, folder: Path, words: int, overlap: int) -> Iterator[Passage]:
    """Yield the chunks of a document as passages, whose keys depend on folder, file and text, and not on what stands before them."""
    name, root, seen = file.relative_to(folder).as_posix(), str(folder.resolve()), {}
    for chunk in chunks(read_document(file), words, overlap):
        copy = seen[chunk.text] = seen.get(chunk.text, -1) + 1
        key = hashlib.sha256("\0".join((root, name, chunk.text, str(copy))).encode()).hexdigest()[:32]
        yield Passage(chunk.text, {"folder": root, "file": name, "heading": chunk.heading, "place": chunk.place}, key)


def index_folder(directory: str, asked: IndexSettings, say: Callable[[str], None] = print) -> None:
    """Bring a vector store up to date with a folder: what is new or changed is embedded, and what is gone is deleted.

    A file that cannot be read is named, and what the store has of it stays. Raises UserError for a folder without documents where there is
    no store yet, and as ``documents``, ``load_embedder`` and ``VectorStore`` do.
    """
    folder = Path(directory)
    files, root = documents(folder), str(folder.resolve())
    known = (Path(asked.store) / FILE).exists()
    if not files and not known:
        raise UserError(f"{folder} holds no Markdown, text or PDF file", f"give a folder with files that end in {', '.join(SUFFIXES)}")
    chunks([], asked.words, asked.overlap)  # what is wrong with these is not a fault of each file
    embedder = load_embedder(asked.embedder or (embedder_of(asked.store) if known else None))
    store = VectorStore(asked.store, embedder, say=say)
    try:
        before = {passage.key: passage.metadata["file"] for passage in store.passages({"folder": root})}
        found, unread = [], set()
        for file in files:
            try:
                found += passages_of(file, folder, asked.words, asked.overlap)
            except UserError as problem:
                unread.add(file.relative_to(folder).as_posix())
                say(f"left out: {problem}")
        changes = store.add(found)
        there = {passage.key for passage in found}
        gone = store.delete(key for key, file in before.items() if key not in there and file not in unread)
        became = f"{changes.new} new, {changes.changed} moved, {changes.same} unchanged, {gone} deleted"
        say(f"{len(files) - len(unread)} files, {len(found)} passages: {became}.")
        say(f"{asked.store}: {store.describe()}")
    finally:
        store.close()


def ask(question: str, asked: AskSettings, say: Callable[[str], None] = print) -> list[Hit]:
    """Print the passages nearest to a question, best first, each with its source, and return them.

    UserError for an empty store, and as ``VectorStore`` and its ``search`` do.
    """
    store = VectorStore(asked.store, load_embedder(embedder_of(asked.store)), existing=True, say=say)
    try:
        hits = store.search(question, asked.passages)
    finally:
        store.close()
    if not hits:
        raise UserError(f"{asked.store} holds no passages", "fill it first, with finetunelab index DIR")
    for rank, hit in enumerate(hits, 1):
        known = hit.passage.metadata
        source = ", ".join(str(known[name]) for name in ("file", "heading", "place") if known.get(name))
        body = hit.passage.text.removeprefix(f"{known.get('heading', '')}\n") if known.get("heading") else hit.passage.text
        say(f"{rank}. {source or hit.passage.key} (similarity {hit.similarity:.2f})")
        say("".join(f"   {line}\n" if line else "\n" for line in body.splitlines()))
    return hits
