"""Documents become chunks that lose nothing, cut nothing short, and know where they stand; a folder becomes a store that can be asked."""

import io
import re

import pytest
from hashed_words import HashedWords

from finetunelab import cli
from finetunelab.errors import UserError
from finetunelab.retrieval import embedders, folder
from finetunelab.retrieval.chunks import OVERLAP, WORDS, Section, chunks, read_document
from finetunelab.retrieval.embedders import EncoderEmbedder, load_embedder
from finetunelab.retrieval.passages import Passage
from finetunelab.retrieval.store import VectorStore

HANDBOOK = """---
title: left out
---
Before any heading.

# Leave

## Sick leave ##
Tell your manager.
Up to ten days.

```sh
# no heading

still the same block
```

Other leave
-----------
* parents
* moving

# Travel

By train.
"""


CODE = "```sh\n# no heading\n\nstill the same block\n```"


def pdf_of(*pages: str) -> bytes:
    """A PDF with one line of text in a standard font on each page; an empty page for an empty text."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", None, "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for text in pages:
        lines = "".join(f"({line}) Tj T* " for line in text.split("\n")) if text else ""
        content = f"BT /F1 12 Tf 14 TL 72 720 Td {lines}ET"
        objects += [f"<< /Length {len(content)} >>\nstream\n{content}\nendstream"]
        resources = "/Resources << /Font << /F1 3 0 R >> >> /MediaBox [0 0 612 792]"
        objects += [f"<< /Type /Page /Parent 2 0 R /Contents {len(objects)} 0 R {resources} >>"]
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode() + b"".join(f"{place:010d} 00000 n \n".encode() for place in places)
    return out + f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n".encode()


def test_markdown_is_divided_at_its_headings(tmp_path):
    (tmp_path / "a.md").write_text("\ufeff" + HANDBOOK, encoding="utf-8")
    assert read_document(tmp_path / "a.md") == [
        Section("", "line 4", ("Before any heading.",)),
        Section("Leave > Sick leave", "line 8", ("Tell your manager.\nUp to ten days.", CODE)),
        Section("Leave > Other leave", "line 18", ("* parents\n* moving",)),
        Section("Travel", "line 23", ("By train.",)),
    ]
    (tmp_path / "a.txt").write_text("# no heading here\n\nbut a paragraph")
    assert read_document(tmp_path / "a.txt") == [Section("", "line 1", ("# no heading here", "but a paragraph"))]
    (tmp_path / "open.md").write_text("```\n# code that never ends\n\nmore")
    assert read_document(tmp_path / "open.md") == [Section("", "line 1", ("```\n# code that never ends\n\nmore",))]


def test_a_pdf_is_divided_at_its_pages(tmp_path):
    (tmp_path / "a.pdf").write_bytes(pdf_of("The first page has a long-\nish word.", "", "The third."))
    assert read_document(tmp_path / "a.pdf") == [
        Section("", "page 1", ("The first page has a longish word.",)), Section("", "page 3", ("The third.",)),
    ]


def locked() -> bytes:
    import pypdf

    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf_of("A secret.")))
    writer.encrypt("password", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.docx", b"x", "no Markdown, text or PDF file; give one that ends in .md"),
        ("a.txt", "Käse".encode("latin-1"), "not a text in UTF-8"),
        ("a.md", b"a\0b", "is binary"), ("a.md", b" \n\n", "has no text"), ("a.md", b"# Only\n\n## Headings\n", "has no text"),
        ("a.pdf", pdf_of("", ""), "as if it were a scan"), ("a.pdf", b"", "damaged, or no PDF"),
        ("a.pdf", b"%PDF-1.4\n" + b"\x93" * 999, "damaged, or no PDF"),
        ("a.pdf", pdf_of("Text.")[:150], "damaged, or no PDF"), ("a.pdf", locked(), "locked by a password; save a copy"),
        ("a.txt", None, "cannot be read: No such file"),
        ("a.pdf", None, "cannot be read: No such file"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path, name, content, told):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=told) as problem:
        read_document(tmp_path / name)
    assert "\n" not in str(problem.value) and name in str(problem.value)


def sentences(n, words):
    return [" ".join(f"w{i}x{j}" for j in range(words)).capitalize() + "." for i in range(n)]


@pytest.mark.parametrize(("size", "repeated"), [(WORDS, OVERLAP), (30, 0), (20, 10)])
def test_chunks_hold_every_word_in_order_and_are_no_longer_than_asked(size, repeated):
    long = " ".join(f"endless{j}" for j in range(300))
    section = Section("A > B", "line 7", (" ".join(sentences(40, 7)), "a list\nof lines", long, *sentences(9, 11)))
    found = chunks([section, Section("", "page 2", ("Short.",))], size, repeated)
    assert found[-1].text == "Short." and found[-1].place == "page 2" and {chunk.heading for chunk in found[:-1]} == {"A > B"}
    bodies = [chunk.text.removeprefix("A > B\n") for chunk in found[:-1]]
    assert all(chunk.text.startswith("A > B\n") for chunk in found[:-1]) and all(len(body.split()) <= size for body in bodies)
    assert any("a list\nof lines" in body for body in bodies)
    rebuilt = bodies[0].split()
    for body in bodies[1:]:
        words = body.split()
        shared = max((n for n in range(size) if words[:n] == rebuilt[len(rebuilt) - n :]), default=0)
        assert shared <= repeated and (shared > 0 or repeated == 0)
        rebuilt += words[shared:]
    assert rebuilt == " ".join(section.paragraphs).split()
    assert len(bodies) <= 2.5 * len(rebuilt) / size, "chunks are filled"


def test_sentences_stay_whole_where_they_fit():
    found = chunks([Section("", "line 1", (" ".join(sentences(30, 9)),))], 30, 10)
    assert len(found) > 5 and all(re.fullmatch(r"(W\d+x0[^.]*\. ?)+", chunk.text) for chunk in found)
    with pytest.raises(UserError, match="half of a chunk"):
        chunks([], 30, 16)


# The reader's own folder ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def embedder(monkeypatch):
    made = HashedWords()
    monkeypatch.setattr(folder, "load_embedder", lambda name=None: made)
    return made


@pytest.fixture
def notes(tmp_path, monkeypatch):
    place = tmp_path / "notes"
    (place / "sub").mkdir(parents=True)
    (place / ".hidden").mkdir()
    (place / "handbook.md").write_text(HANDBOOK)
    (place / "sub" / "cats.txt").write_text("Pumpkin the cat sleeps on the sofa.")
    (place / "report.pdf").write_bytes(pdf_of("Sales of honey doubled."))
    (place / ".hidden" / "secret.md").write_text("Hidden honey.")
    (place / "picture.png").write_bytes(b"\x89PNG")
    monkeypatch.chdir(tmp_path)
    return place


def run(capsys, *argv, code=0):
    assert cli.main([str(arg) for arg in argv]) == code
    out, err = capsys.readouterr()
    if code == 2:
        assert out == "" and err.startswith("finetunelab: error: ") and err.count("\n") == 1 and "; " in err
    return err if code else out


def test_a_folder_is_indexed_and_asked_with_sources(notes, embedder, capsys):
    out = run(capsys, "index", "notes")
    assert "3 files, 6 passages: 6 new, 0 moved, 0 unchanged, 0 deleted." in out
    assert "6 passages. Index: flat, because 6 vectors are so few" in out
    out = run(capsys, "ask", "How many days of sick leave, manager?", "--passages", "2")
    assert out.startswith("1. handbook.md, Leave > Sick leave, line 8 (similarity 0.") and "\n2. " in out and "\n3. " not in out
    assert "   Tell your manager.\n   Up to ten days.\n" in out
    assert run(capsys, "ask", "honey sales").startswith("1. report.pdf, page 1 (similarity")
    assert "Hidden" not in run(capsys, "ask", "hidden honey", "--passages", "9")
    assert run(capsys, "ask", "the cat on the sofa").startswith("1. sub/cats.txt, line 1 (similarity")


def test_again_only_what_changed_is_embedded_and_what_was_removed_is_deleted(notes, embedder, capsys):
    run(capsys, "index", "notes")
    embedder.asked.clear()
    assert "6 passages: 0 new, 0 moved, 6 unchanged, 0 deleted." in run(capsys, "index", "notes") and embedder.asked == []
    (notes / "handbook.md").write_text(HANDBOOK.replace("Before any heading.", "Before any heading.\n\n\n").replace("By train.", "By bus."))
    (notes / "sub" / "cats.txt").unlink()
    out = run(capsys, "index", "notes")
    assert "2 files, 5 passages: 1 new, 2 moved, 2 unchanged, 2 deleted." in out and embedder.asked == ["Travel\nBy bus."]
    assert "Sick leave, line 11 (" in run(capsys, "ask", "sick leave manager")
    assert "Pumpkin" not in run(capsys, "ask", "Pumpkin the cat", "--passages", "9")
    assert not any(b"Pumpkin" in path.read_bytes() for path in (notes.parent / "finetunelab-store").iterdir())


def test_a_file_that_cannot_be_read_is_named_and_keeps_what_was_read_before(notes, embedder, capsys):
    run(capsys, "index", "notes")
    (notes / "sub" / "cats.txt").write_bytes(b"\xff\xfe\xff")
    out = run(capsys, "index", "notes")
    assert "left out: notes/sub/cats.txt is not a text in UTF-8; save it as UTF-8" in out
    assert "2 files, 5 passages: 0 new, 0 moved, 5 unchanged, 0 deleted." in out
    assert run(capsys, "ask", "the cat on the sofa").startswith("1. sub/cats.txt")


def test_one_store_holds_several_folders(notes, embedder, capsys):
    run(capsys, "index", "notes", "--store", "both")
    other = notes.parent / "other"
    other.mkdir()
    (other / "handbook.md").write_text("Bees make honey.")
    assert "1 new, 0 moved, 0 unchanged, 0 deleted" in run(capsys, "index", "other", "--store", "both")
    assert "6 unchanged, 0 deleted" in run(capsys, "index", "notes", "--store", "both")
    (other / "handbook.md").unlink()
    assert "0 files, 0 passages: 0 new, 0 moved, 0 unchanged, 1 deleted." in run(capsys, "index", "other", "--store", "both")


def test_an_interrupted_indexing_goes_on(notes, embedder, capsys, monkeypatch):
    from finetunelab.retrieval import store as module

    monkeypatch.setattr(module, "BATCH", 2)
    embed, calls = embedder.embed, []

    def interrupted(texts):
        calls.append(texts)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return embed(texts)

    monkeypatch.setattr(embedder, "embed", interrupted)
    assert cli.main(["index", "notes"]) == 130
    capsys.readouterr()
    monkeypatch.setattr(embedder, "embed", embed)
    assert "6 passages: 2 new, 0 moved, 4 unchanged" in run(capsys, "index", "notes")


def test_bad_input_to_the_commands(notes, embedder, capsys):
    assert "no folder nowhere" in run(capsys, "index", "nowhere", code=2)
    assert "is a file" in run(capsys, "index", "notes/handbook.md", code=2)
    (notes.parent / "empty").mkdir()
    assert "holds no Markdown, text or PDF file" in run(capsys, "index", "empty", code=2)
    assert "there is no vector store" in run(capsys, "ask", "what?", code=2)
    assert "half of a chunk" in run(capsys, "index", "notes", "--words", "30", "--overlap", "20", code=2)
    assert not [path for path in notes.parent.iterdir() if path.name not in ("notes", "empty")]
    run(capsys, "index", "notes")
    assert "the question is empty" in run(capsys, "ask", " ", code=2) and "at least 1" in run(capsys, "ask", "x", "--passages", "0", code=2)
    embedder.checksum = "1" * 64
    assert "made with the embedder words" in run(capsys, "index", "notes", code=2)
    VectorStore(notes.parent / "void", embedder).close()
    assert "holds no passages; fill it first" in run(capsys, "ask", "what?", "--store", "void", code=2)


# Real embedders -------------------------------------------------------------------------------------------------------------------------


def test_a_directory_is_an_embedder_whose_checksum_follows_its_weights(tiny_encoder, tmp_path):
    import shutil

    made = load_embedder(tiny_encoder)
    vectors = made.embed(["we won a prize", "see you at home"])
    assert vectors.shape == (2, made.dimension) == (2, 16) and vectors.dtype == "float32"
    embedders.checked(vectors, 2, made)
    copy = tmp_path / "copy"
    shutil.copytree(tiny_encoder, copy)
    assert EncoderEmbedder(str(copy)).checksum == made.checksum and EncoderEmbedder(str(copy)).id == str(copy)
    store = VectorStore(tmp_path / "s", made)
    store.add([Passage("we won a free prize"), Passage("see you at home")])
    assert store.search("see you at home", 1)[0].similarity == pytest.approx(1, abs=1e-5)
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert EncoderEmbedder(str(copy)).checksum != made.checksum


def test_an_encoder_that_wants_other_pooling_is_refused(tiny_encoder, tmp_path):
    import json
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tiny_encoder, copy)
    modules = [{"type": f"sentence_transformers.models.{kind}"} for kind in ("Transformer", "Pooling", "Normalize")]
    (copy / "modules.json").write_text(json.dumps(modules))
    (copy / "1_Pooling").mkdir()
    (copy / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}))
    load_embedder(str(copy))
    for damage in ({"pooling_mode_cls_token": True}, {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}):
        (copy / "1_Pooling" / "config.json").write_text(json.dumps(damage))
        with pytest.raises(UserError, match="more than take the mean of its states; choose"):
            load_embedder(str(copy))
    (copy / "modules.json").write_text("{")
    with pytest.raises(UserError, match="not laid out as"):
        load_embedder(str(copy))
    with pytest.raises(UserError, match="there is no encoder 'minilmm'"):
        load_embedder("minilmm")
