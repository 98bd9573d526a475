import random
import re
from itertools import pairwise

import pytest

from finetunelab.worlds import news
from finetunelab.worlds.core import Draw
from finetunelab.worlds.grammar import load_grammar
from finetunelab.worlds.town import town

GENERATOR = news.GENERATORS[0]


def raw(n, **knobs):
    return [GENERATOR.make(Draw(random.Random(f"t/{i}"), town(0), "train", 0), **knobs) for i in range(n)]


def body(text):
    """An article without its headline and date line."""
    return text.split("\n", 1)[1].split(". ", 1)[1]


def names(text, value):
    return re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) is not None


def test_raw_documents_are_distinct_filled_and_of_the_right_length():
    texts = [row["text"] for row in raw(1500)]
    assert len(set(texts)) >= 0.98 * len(texts)
    assert not any(c in text for text in texts for c in "{}[]|")
    assert all(text.isascii() and len(text) <= 900 for text in texts)


def test_every_article_states_the_facts_of_its_day():
    for row in raw(400):
        truth = news.facts(row["day"])
        assert row["answers"] == [truth[slot] for slot in row["slots"]]
        assert all(names(body(row["text"]), answer) for answer in row["answers"])
        assert news.date(row["day"]) in row["text"]


def test_no_article_states_another_value_of_its_facts():
    for row in raw(400):
        for slot, answer in zip(row["slots"], row["answers"]):
            others = [v for v in news.values(slot) if v != answer and v not in row["answers"]]
            assert not [v for v in others if names(body(row["text"]), v)], row["text"]


def test_every_frame_of_a_fact_keeps_its_value_verbatim():
    grammar = load_grammar("news")
    for slot in news.SLOTS:
        for value in news.values(slot):
            assert len(value.split()) <= 3
            for frame in grammar.sections[f"{slot} fact"]:
                assert value in news.capital(grammar.fill(frame, random.Random(0), {"v": value}))


def test_a_third_of_the_facts_change_each_day():
    rates = []
    for seed in range(5):
        days = [news.facts(day, seed) for day in range(30)]
        rates += [sum(a[s] != b[s] for s in a) / len(a) for a, b in pairwise(days)]
    assert 0.28 < sum(rates) / len(rates) < 0.40


def test_articles_cover_every_fact_of_the_day():
    paper = news.articles(7, data_seed=3)
    assert {slot for row in paper for slot in row["slots"]} == set(news.SLOTS)
    assert {row["day"] for row in paper} == {7}
    assert len(news.articles(7, 3, n=50)) == 50
    assert paper == news.articles(7, data_seed=3)


def test_questions_know_today_and_what_was_true_before():
    for question in news.questions(12, data_seed=2):
        assert question.prompt.startswith("Question: ") and question.prompt.endswith("? Answer:")
        assert question.answer == news.facts(12, 2)[question.slot]
        earlier = {news.facts(day, 2)[question.slot] for day in range(12)}
        assert set(question.stale_answers) == earlier - {question.answer}
        assert news.correct(question, f" {question.answer}.\nMore") and not news.correct(question, "nobody knows")
        assert not any(news.correct(question, old) for old in question.stale_answers)
        assert all(news.outdated(question, old) for old in question.stale_answers)
        assert not news.outdated(question, question.answer)
    assert all(question.stale_answers == () for question in news.questions(0))


def test_the_latest_stale_answer_comes_first():
    for question in news.questions(20):
        past = [news.facts(day)[question.slot] for day in range(20)]
        wrong = [v for v in past if v != question.answer]
        assert question.stale_answers[:1] == tuple(wrong[-1:])


def test_people_hold_one_office_only():
    offices = [slot for slot, (pool, _) in news.SLOTS.items() if pool == "person"]
    everybody = [name for office in offices for name in news.values(office)]
    assert len(everybody) == len(set(everybody)) == len({name.split()[0] for name in everybody})


def test_day_knob_and_its_bounds():
    assert {row["day"] for row in GENERATOR.rows(5, day=41)} == {41}
    for call in (news.facts, news.articles, news.questions):
        with pytest.raises(ValueError, match="no day 60"):
            call(60)
    with pytest.raises(ValueError, match="no day -1"):
        GENERATOR.rows(1, day=-1)


def test_dates_run_through_two_months():
    assert news.date(0) == "Monday, 1 March"
    assert news.date(30) == "Wednesday, 31 March"
    assert news.date(31) == "Thursday, 1 April"
