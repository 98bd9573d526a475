"""Chapter 5 on real texts: how places are counted, what each arm ranks by, which sentence stands for an answer, and what seeds share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from finetunelab.evidence.store import load_rows
from finetunelab.experiments import retrieval_real as chapter
from finetunelab.real_data import REPORT, SWEEP, Asked, pages, paragraphs


@pytest.fixture
def small(tiny_encoder, monkeypatch) -> str:
    """An encoder that has places for 160 tokens."""
    monkeypatch.setattr("finetunelab.retrieval.embedders.READ", 32)
    return tiny_encoder


EVIDENCE = Path(__file__).resolve().parents[1] / "book" / "evidence"
TEXTS = (
    "The lighthouse stands on a cliff. It was built in 1864 of gray stone. Nobody lives there.",
    "Bakers rise early. The oven in the bakery is heated at three. Bread is sold from six on.",
    "The river is crossed by two bridges. One of them is closed. Ferries run every hour.",
)


def test_places_count_from_one_the_best_right_text_counts_and_ties_go_to_the_wrong_one():
    scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.2, 0.1], [0.1, 0.2, 0.3]], dtype=np.float32)
    assert chapter.found_at(scores, [[0], [0], [0, 1]]).tolist() == [1, 2, 2]
    assert scores[0, 0] == np.float32(0.9), "the scores are left alone"
    assert chapter.recalls(np.array([1, 4, 6, 11])) == {"recall@1": 0.25, "recall@5": 0.5, "recall@10": 0.75}


def test_words_are_stemmed_and_common_ones_do_not_count():
    rank = chapter.by_words(TEXTS)
    scores = rank(["When are the ovens heated?", "Which bridge is it?", "of the"])
    assert scores.argmax(axis=1).tolist()[:2] == [1, 2] and scores[0, 0] == scores[0, 2] == 0, "no word in common but common ones"
    assert not scores[2].any()
    assert not np.allclose(scores, chapter.by_words(TEXTS, (0.5, 0.1))(["When are the ovens heated?", "Which bridge is it?", "of the"]))


def test_vectors_rank_by_the_cosine(small):
    scores = chapter.by_vectors(["free prize", "please home"], small)(["free prize", "please home"])
    assert np.allclose(scores.diagonal(), 1, atol=1e-5) and np.allclose(scores, scores.T, atol=1e-5) and scores[0, 1] < 1


def test_an_answer_is_right_where_the_nearest_sentence_of_the_paragraph_found_holds_it(monkeypatch):
    monkeypatch.setattr(chapter, "paragraphs", lambda: (TEXTS, ()))
    asked = [Asked("When was it built?", 0, ("1864",)), Asked("When is the oven heated?", 1, ("three", "at three"))]
    assert chapter.right_sentences(asked, [0, 1], chapter.by_words) == 1
    assert chapter.right_sentences(asked, [0, 2], chapter.by_words) == 0.5, "another paragraph was found"
    assert chapter.right_sentences([Asked("When was it built?", 0, ("186",))], [0], chapter.by_words) == 0, "a whole word, not a part of one"


def test_the_seeds_parts_share_nothing_and_have_everything_together():
    parts = [chapter.part(range(195), seed, "x") for seed in range(chapter.SEEDS)]
    assert set.union(*parts) == set(range(195)) and sum(map(len, parts)) == 195 and {19, 20} == {len(part) for part in parts}
    assert chapter.part(range(195), 0, "x") == parts[0] != chapter.part(range(195), 0, "y")


def test_what_is_tuned_is_the_best_of_the_sweep():
    rows = load_rows(EVIDENCE / "E5.real-choices.csv")
    means = {(float(row["k1"]), float(row["b"])): float(row["mean"]) for row in rows}
    assert tuple(means) == chapter.TRIED and max(means, key=means.get) == chapter.CHOSEN


@pytest.mark.real
def test_questions_are_about_their_paragraph_and_pages_do_not_hold_their_title_line(real_folder):
    texts, asked = paragraphs()
    assert (len(texts), len(asked)) == (240, 1190) and all(answer in texts[question.place] for question in asked for answer in question.answers)
    sides = [chapter.questions_of(side) for side in (SWEEP, REPORT)]
    assert sum(map(len, sides)) == 1190 and not {question.place for question in sides[0]} & {question.place for question in sides[1]}
    held = pages()
    assert len(held) > 200 and all(held.values()) and not any(texts[0].startswith(("---", "title:")) for texts in held.values())


@pytest.mark.real
def test_both_measurements_compare_the_arms_on_the_same_questions(real_folder, small, monkeypatch):
    held = dict(list(pages().items())[:20])
    monkeypatch.setattr(chapter, "pages", lambda: held)
    found = chapter.real_pages(0, 0, small)
    assert [row["arm"] for row in found.rows] == [chapter.ENCODER, chapter.BM25] and {row["titles"] for row in found.rows} == {2}
    texts, asked = paragraphs()
    few = [question for question in asked if question.place < 30]
    monkeypatch.setattr(chapter, "paragraphs", lambda: (texts[:30], tuple(few)))
    found = chapter.real_paragraphs(1, 0, small)
    words = found.rows[1]
    assert found.arms["E5.real"][chapter.BM25] == words["recall@5"] > 0.8 > found.arms["E5.real"][chapter.ENCODER]
    assert words["recall@1"] <= words["recall@5"] <= words["recall@10"] and words["answer"] <= words["answer, paragraph given"] + 0.1
    assert found.arms["E5.real.answer"] == {row["arm"]: row["answer"] for row in found.rows}
