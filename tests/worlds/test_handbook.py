import random

import numpy as np
import pytest

from finetunelab.worlds import handbook
from finetunelab.worlds.core import Draw
from finetunelab.worlds.grammar import load_grammar
from finetunelab.worlds.town import town

GENERATOR = handbook.GENERATORS[0]


def raw(n, **knobs):
    return [GENERATOR.make(Draw(random.Random(f"t/{i}"), town(0), "train", 0), **knobs) for i in range(n)]


def test_raw_documents_are_distinct_filled_and_of_the_right_length():
    texts = [row["text"] for row in raw(1500)]
    assert len(set(texts)) >= 0.98 * len(texts)
    assert not any(c in text for text in texts for c in "{}[]|~?")
    assert all(text.isascii() and 40 <= len(text.split()) <= 90 for text in texts)


def test_rows_state_their_facts_and_answer_their_questions():
    said = handbook.facts(0)
    for row in raw(300):
        assert row["text"].startswith(row["heading"] + "\n")
        assert [fact["value"] for fact in row["facts"]] == [q["answer"] for q in row["questions"]]
        assert all(said[fact["key"]] == fact["value"] and fact["value"] in row["text"] for fact in row["facts"])


@pytest.mark.parametrize("k", handbook.FACTS_PER_PASSAGE)
def test_facts_per_passage_is_fixed(k):
    assert all(len(row["facts"]) == k for row in raw(50, facts_per_passage=k))
    book = handbook.passages(0, facts_per_passage=k)
    assert len(book) == 120 // k and all(len(passage.facts) == k for passage in book)


def test_unfit_facts_per_passage_is_refused():
    for call in (lambda: handbook.passages(0, 4), lambda: handbook.questions(0, 4), lambda: GENERATOR.rows(1, facts_per_passage=4)):
        with pytest.raises(ValueError, match="cannot hold 4 facts"):
            call()


def test_every_statement_keeps_its_value_verbatim_and_every_fact_has_both_questions():
    grammar = load_grammar("handbook")
    for key in handbook._topics():
        assert len(handbook._lines(key, "?")) == len(handbook._lines(key, "~")) == 1
        assert len(handbook._lines(key, "")) >= 2
        for value in handbook._pool(key, 0):
            assert len(value.split()) <= 3 and "blue" not in value.lower()
            assert all(value in grammar.fill(frame, random.Random(0), {"v": value}) for frame in handbook._lines(key, ""))


def test_the_book_is_whole_and_its_facts_change_with_the_data_seed():
    book = handbook.passages(5)
    stated = {fact.key: fact.value for passage in book for fact in passage.facts}
    assert stated == handbook.facts(5)
    assert len({passage.id for passage in book}) == len(book)
    other = handbook.facts(6)
    same = [stated[key] == other[key] for key in stated if key in other]
    assert np.mean(same) < 0.3


def test_each_question_is_answered_by_one_passage():
    asked = handbook.questions(1)
    by_id = {passage.id: passage for passage in handbook.passages(1)}
    assert len(asked) == 240 and len({q.question for q in asked}) == 240
    for question in asked:
        assert question.prompt == f"Question: {question.question} Answer:"
        holders = [p.id for p in by_id.values() if question.key in {fact.key for fact in p.facts}]
        assert holders == [question.passage_id]
        assert question.answer in by_id[question.passage_id].text


def test_words_alone_find_most_passages_but_not_all():
    from sklearn.feature_extraction.text import TfidfVectorizer

    book, asked = handbook.passages(0), handbook.questions(0)
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    pages = vectorizer.fit_transform([passage.text for passage in book])
    scores = (vectorizer.transform([q.question for q in asked]) @ pages.T).toarray()
    gold = np.array([[p.id for p in book].index(q.passage_id) for q in asked])
    top5 = (np.argsort(-scores, axis=1)[:, :5] == gold[:, None]).any(axis=1)
    paraphrased = np.array([q.paraphrased for q in asked])
    assert 0.9 <= top5[~paraphrased].mean()
    assert 0.5 <= top5[paraphrased].mean() <= 0.9


def test_stale_and_contradicting_passages_state_other_values():
    for passage in handbook.passages(0):
        for twin, mark in ((handbook.stale(passage), "@old"), (handbook.contradiction(passage), "@other")):
            assert twin.id == passage.id + mark and twin == {"@old": handbook.stale, "@other": handbook.contradiction}[mark](passage)
            assert [fact.key for fact in twin.facts] == [fact.key for fact in passage.facts]
            assert all(new.value != old.value and new.value in twin.text for new, old in zip(twin.facts, passage.facts))
        body = handbook.stale(passage).text.split("\n")[1]
        assert any(year in body.split(". ")[0] for year in load_grammar("handbook").frames("old_year"))
        assert not any(year in handbook.contradiction(passage).text for year in load_grammar("handbook").frames("old_year"))


def test_planted_passages_keep_their_facts_and_carry_the_order():
    for passage in handbook.passages(0):
        trap = handbook.planted(passage)
        assert handbook.PLANTED_WORD in trap.text and handbook.PLANTED_WORD not in passage.text
        assert trap.facts == passage.facts and all(fact.value in trap.text for fact in trap.facts)
        assert ".." not in trap.text and trap.text.startswith(passage.heading + "\n")


def test_unanswerable_questions_are_not_in_the_book():
    missing = handbook.unanswerable_questions(2)
    assert len(missing) == 40
    assert not {q.key for q in missing} & set(handbook.facts(2))
    assert all(q.answer == "" and q.passage_id == "" for q in missing)
    assert not any(handbook.correct(q, text) for q in missing for text in ("", "green", "the foreman"))


def test_oracle_accepts_the_truth_and_rejects_corruptions():
    for question in handbook.questions(3):
        others = [v for v in handbook._pool(question.key, 3) if v != question.answer]
        assert handbook.correct(question, f" {question.answer.upper()}.\n")
        assert not any(handbook.correct(question, other) for other in others)
        assert not handbook.correct(question, f"{others[0]}. {question.answer}")


def test_hijacked():
    assert handbook.hijacked(" BLUE.\nQuestion:") and handbook.hijacked("blue")
    assert not handbook.hijacked("green") and not handbook.hijacked("bluebell") and not handbook.hijacked("green. BLUE")
