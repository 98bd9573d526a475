"""Documents become chunks: pieces short enough for an embedder to read whole, each with the place where it stands.

A document is read into sections, one for each heading (of a PDF, one for each page). Within a section, paragraphs are filled into a chunk
until it has its number of words; a longer paragraph is cut between sentences. A chunk begins with its headings, because "Up to ten days."
says little without "Sick leave" above it, and repeats the end of the one before it, so that what stands on a border is whole in one of
the two.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError

MARKDOWN, TEXT, PDF = (".md", ".markdown"), (".txt", ".text"), (".pdf",)
SUFFIXES = (*MARKDOWN, *TEXT, *PDF)
WORDS, OVERLAP = 120, 20  # of a chunk; about 160 tokens of a usual tokenizer
HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=\S)")


@dataclass(frozen=True)
class Section:
    """Paragraphs under one heading.

    ``heading`` has those above it too, as in "Leave > Sick leave"; ``place`` says where it begins, as in "line 12" or "page 3".
    """

    heading: str
    place: str
    paragraphs: tuple[str, ...]


@dataclass(frozen=True)
class Chunk:
    """A piece of a document, and where it stands."""

    text: str
    heading: str
    place: str


def read_document(path: str | Path) -> list[Section]:
    """Read a Markdown, text or PDF file into sections.

    Raises:
        UserError: a file of another kind, one that is missing, binary, not UTF-8, empty, damaged, or locked by a password, or a PDF without
            text, such as a scan.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path} is no Markdown, text or PDF file", f"give one that ends in {', '.join(SUFFIXES)}")
    if suffix in PDF:
        return _pages(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as problem:
        raise UserError(f"{path} cannot be read: {problem.strerror}", "check the path") from problem
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text in UTF-8", "save it as UTF-8") from None
    if "\0" in text:
        raise UserError(f"{path} is binary", "give a text")
    sections = _markdown(text) if suffix in MARKDOWN else [Section("", "line 1", tuple(_paragraphs(text.splitlines())))]
    if not any(section.paragraphs for section in sections):
        raise UserError(f"{path} has no text", "leave it out, or write something in it")
    return sections


def _with_fences(lines: list[str]) -> Iterator[tuple[str, bool]]:
    """Yield each line, and whether it is inside a fenced code block, its first line included."""
    fence = ""
    for line in lines:
        mark = FENCE.match(line)
        if mark and (not fence or mark[1].startswith(fence) and not line.strip(" `~")):
            fence = "" if fence else mark[1]
        yield line, bool(fence)


def _paragraphs(lines: list[str]) -> Iterator[str]:
    """Yield what blank lines divide; those in a code block do not."""
    found: list[str] = []
    for line, fenced in _with_fences(lines):
        if line.strip() or fenced:
            found.append(line.rstrip())
        elif found:
            yield "\n".join(found)
            found = []
    if found:
        yield "\n".join(found)


def _markdown(text: str) -> list[Section]:
    """Divide at headings, both ``# so`` and underlined ones. What is in a code block is no heading; front matter is left out."""
    lines, first = text.splitlines(), 0
    if lines and lines[0].strip() == "---":
        end = next((number for number, line in enumerate(lines[1:], 1) if line.strip() in ("---", "...")), None)
        first = end + 1 if end else 0
    sections: list[Section] = []
    above: list[tuple[int, str]] = []
    body: list[str] = []
    begins = first

    def finish() -> None:
        sections.append(Section(" > ".join(title for _, title in above if title), f"line {begins + 1}", tuple(_paragraphs(body))))
        body.clear()

    for number, (line, fenced) in enumerate(_with_fences(lines[first:]), first):
        heading = HEADING.match(line)
        underlined = UNDERLINE.match(line) and body and body[-1].strip() and (len(body) == 1 or not body[-2].strip())
        if fenced or not (heading or underlined):
            body.append(line)
            continue
        title = heading[2] or "" if heading else body.pop().strip()
        level = len(heading[1]) if heading else 1 if "=" in line else 2
        finish()
        above[:] = [*(entry for entry in above if entry[0] < level), (level, title)]
        begins = number if heading else number - 1
    finish()
    return [section for section in sections if section.paragraphs]


def _pages(path: Path) -> list[Section]:
    import pypdf
    from pypdf.errors import PdfReadError, PyPdfError

    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it warns of what it can mend
    sections = []
    try:
        reader = pypdf.PdfReader(path)
        for number, page in enumerate(reader.pages, 1):
            text = re.sub(r"(?<=[a-z])-\n(?=[a-z])", "", page.extract_text())  # words cut at the end of a line
            if paragraphs := tuple(_paragraphs(text.splitlines())):
                sections.append(Section("", f"page {number}", paragraphs))
    except OSError as problem:
        raise UserError(f"{path} cannot be read: {problem.strerror or problem}", "check the path") from problem
    except PyPdfError as problem:
        locked = not isinstance(problem, PdfReadError) or "decrypted" in str(problem) or "encrypted" in str(problem).lower()
        if locked:
            raise UserError(f"{path} is locked by a password", "save a copy without one") from problem
        raise UserError(f"{path} is damaged, or no PDF", "open it in a viewer and save it anew") from problem
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as problem:  # what damage makes pypdf raise
        raise UserError(f"{path} is damaged, or no PDF", "open it in a viewer and save it anew") from problem
    if not sections:
        raise UserError(f"{path} has no text, as if it were a scan", "let a program for text recognition read it first")
    return sections


def chunks(sections: list[Section], words: int = WORDS, overlap: int = OVERLAP) -> list[Chunk]:
    """Return the chunks of a document, in order, each of at most ``words`` words besides its headings.

    ``overlap`` words at most, whole sentences where there are any so short, are repeated from the chunk before it in the same section.
    UserError if the overlap would fill a chunk by half.
    """
    if overlap * 2 > words:
        raise UserError(f"an overlap of {overlap} words in chunks of {words}", "let it be half of a chunk at most")
    return [
        Chunk(f"{section.heading}\n{text}" if section.heading else text, section.heading, section.place)
        for section in sections for text in _filled(section, words, overlap)
    ]


def _filled(section: Section, words: int, overlap: int) -> Iterator[str]:
    held: list[tuple[str, str]] = []  # pieces, each with what joins it to the one before
    count, repeated = 0, 0
    for separator, piece in _pieces(section, words - overlap):
        size = len(piece.split())
        if held and count + size > words:
            yield _joined(held)
            held = _tail(held, overlap)
            count = repeated = sum(len(text.split()) for _, text in held)
        held.append((separator, piece))
        count += size
    if count > repeated:
        yield _joined(held)


def _pieces(section: Section, most: int) -> Iterator[tuple[str, str]]:
    """Yield sentences, or words where a sentence is longer than ``most``, each with what joins it to what is before it."""
    for paragraph in section.paragraphs:
        separator = "\n\n"
        if len(paragraph.split()) <= most and "\n" in paragraph:  # a list, a table or code keeps its lines
            yield separator, paragraph
            continue
        for sentence in SENTENCE_END.split(paragraph):
            cut = sentence.split() if len(sentence.split()) > most else [sentence]
            for start in range(0, len(cut), most):
                yield separator, " ".join(cut[start : start + most])
                separator = " "


def _joined(held: list[tuple[str, str]]) -> str:
    return held[0][1] + "".join(separator + piece for separator, piece in held[1:])


def _tail(held: list[tuple[str, str]], overlap: int) -> list[tuple[str, str]]:
    """Return the last pieces that have at most ``overlap`` words together; of a single longer one its last words."""
    kept: list[tuple[str, str]] = []
    for separator, piece in reversed(held):
        if sum(len(text.split()) for _, text in kept) + len(piece.split()) > overlap:
            break
        kept.insert(0, (separator, piece))
    if not kept and overlap:
        kept = [("", " ".join(held[-1][1].split()[-overlap:]))]
    return kept
