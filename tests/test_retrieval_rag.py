"""The prompt with its sources, what a reader's words are taken apart into, and an answer from a store."""

from __future__ import annotations

import pytest

from finetunelab.errors import UserError
from finetunelab.models import load_model, load_tokenizer
from finetunelab.retrieval import rag
from finetunelab.retrieval.passages import Passage
from finetunelab.retrieval.store import VectorStore


def test_the_prompt_numbers_the_passages_asks_for_caution_and_ends_in_the_question():
    assert rag.prompt(["Oars\nThey are green. ", "Saws hang."], "Which color?") == "[1] Oars\nThey are green.\n[2] Saws hang.\n\nQuestion: Which color? Answer:"
    assert rag.prompt(["Saws hang."], "Who?", cautious=True) == f"[1] Saws hang.\n{rag.CAUTION}\n\nQuestion: Who? Answer:"
    assert rag.prompt([], "Who?") == "Question: Who? Answer:"


PASSAGES = ["Keys\nThe spare key hangs in the map\nroom.", "It costs two dollars, and green ink five.", "At 1.5 crowns, 5,000 of them. Green too."]


@pytest.mark.parametrize(
    ("said", "text", "source"),
    [
        (" green\nQuestion: more", "green", 2), (" Map room", "Map room", 1), ("the map  room.", "the map  room.", 1), ("map", "map", 1), ("ma", "ma", None),
        ("two dollars", "two dollars", 2), ("dollars two", "dollars two", None), ("5", "5", None), ("000", "000", None), ("1.5", "1.5", 3),
        ("5,000", "5,000", 3), ("", "", None), ("...", "...", None), ("(", "(", None),
    ],
)
def test_the_source_is_the_first_passage_that_says_it_word_for_word(said, text, source):
    assert rag.sourced(said, PASSAGES) == rag.Answer(text, source)


def test_to_abstain_is_to_say_so():
    assert rag.Answer("Not said.").abstains and not rag.Answer("not said by Ann").abstains


def test_each_question_is_answered_from_its_own_passages_and_the_model_is_given_their_prompt(monkeypatch):
    seen = []

    def generate(model, tokenizer, prompts, *, tokens, stop):
        seen.append((prompts, tokens, stop))
        return [f" answer {number}\n" for number in range(len(prompts))]

    monkeypatch.setattr(rag, "generate", generate)
    model, tokenizer = load_model("nano"), load_tokenizer("nano")
    found = rag.answers(model, tokenizer, [(["An answer 0."], "One?"), ([], "Two?")], cautious=True)
    assert found == [rag.Answer("answer 0", 1), rag.Answer("answer 1", None)], "where nothing was shown nothing can be the source"
    assert seen == [([rag.prompt(["An answer 0."], "One?", True), rag.prompt([], "Two?", True)], rag.TOKENS, "\n")]
    with pytest.raises(UserError, match="1,024"):
        rag.answers(model, tokenizer, [(["word " * 1_100], "One?")])


def test_what_no_passage_says_is_held_back():
    assert rag.grounded(rag.Answer("map room", 1)) == rag.Answer("map room", 1)
    assert rag.grounded(rag.Answer("barn")) == rag.Answer(rag.NOT_SAID) and rag.grounded(rag.Answer("barn")).abstains


class Letters:
    """An embedder of three letters."""

    id, checksum, dimension = "letters", "0" * 64, 3

    def embed(self, texts):
        import numpy as np

        counts = np.array([[text.count(letter) + 1e-3 for letter in "xyz"] for text in texts], dtype=np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def test_an_answer_from_a_store_names_the_passage_among_those_that_are_allowed(tmp_path, monkeypatch):
    store = VectorStore(tmp_path / "store", Letters())
    store.add([Passage("xx", {"user": "a"}, "1"), Passage("xy", {"user": "a"}, "2"), Passage("xxx", {"user": "b"}, "3")])
    monkeypatch.setattr(rag, "generate", lambda model, tokenizer, prompts, **_: [" xy" for _ in prompts])
    model, tokenizer = load_model("nano"), load_tokenizer("nano")
    found = rag.answer_from(store, model, tokenizer, "x?", k=2, where={"user": "a"})
    assert [hit.passage.key for hit in found.hits] == ["1", "2"] and found.answer.text == "xy" and found.source.passage.key == "2"
    monkeypatch.setattr(rag, "generate", lambda model, tokenizer, prompts, **_: [" it is so" for _ in prompts])
    assert rag.answer_from(store, model, tokenizer, "x?", k=2).source is None
    store.close()
