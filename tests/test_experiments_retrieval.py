"""Chapter 5's experiments on retrieval, with an embedder of words and a reader that can be trusted: what each arm is given, and what is counted."""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from finetunelab.evidence.judge import judge
from finetunelab.evidence.store import load_rows
from finetunelab.experiments import changing_facts, find, personal, retrieval, retrieval_failures
from finetunelab.models import load_model, load_tokenizer
from finetunelab.retrieval.passages import Hit, Passage
from finetunelab.retrieval.rag import NOT_SAID, Answer, sourced
from finetunelab.sft import IGNORED
from finetunelab.worlds import handbook, memories, news

STOP = set("a an the is of to in at on for and or who what which where when how do does i my me must may one it be are by with from".split())


class Words:
    """An embedder that counts word stems in 512 places."""

    id, checksum, dimension = "words", "0" * 64, 512

    def embed(self, texts):
        found = np.full((len(texts), self.dimension), 1e-4, dtype=np.float32)
        for row, text in zip(found, texts, strict=True):
            for word in set(re.findall(r"\w+", text.lower())) - STOP:
                row[zlib.crc32(word[:5].encode()) % self.dimension] += 1
        return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture
def words(monkeypatch):
    monkeypatch.setattr(retrieval, "embedder", lambda name="": Words())


@pytest.fixture
def nobody(monkeypatch):
    """Load no reader: its place is taken by the name that was asked for."""
    for module in (retrieval, retrieval_failures, personal):
        monkeypatch.setattr(module, "reader_of", lambda name: (name, None))


def honest(known: dict[str, set[str]]):
    """A stand-in for ``rag.answers``: it answers a question with the known value that a passage has, else by caution or with a guess."""

    def answers(model, tokenizer, asked, cautious=False):
        said = []
        for passages, question in asked:
            stated = ((value, at) for at, text in enumerate(passages, 1) for value in known.get(question, ()) if value in text)
            said.append(Answer(*next(stated, (NOT_SAID if cautious else "a guess", None))))
        return said

    return answers


# The handbook -------------------------------------------------------------------------------------------------------------------


def test_each_arm_gets_its_passages_and_right_sources_are_counted(words, nobody, monkeypatch):
    known, seen = {question.question: {question.answer} for question in handbook.questions(1_000)}, []

    def answers(model, tokenizer, asked, cautious=False):
        seen.append((model, asked, cautious))
        return honest(known)(model, tokenizer, asked) if model == "reader" else [Answer("a guess")] * len(asked)

    monkeypatch.setattr(retrieval, "answers", answers)
    found = retrieval.handbook_answers(0, 0, n_test=30, k=2, reader="reader", base="base")
    assert [(model, {len(passages) for passages, _ in asked}) for model, asked, _ in seen] == [
        ("reader", {0}), ("reader", {2}), ("reader", {1}), ("base", {0}), ("base", {2}), ("base", {1}),
    ]
    asked = retrieval.asked_of(30, 1_000)
    pages = {page.id: page for page in handbook.passages(1_000)}
    assert [passages for passages, _ in seen[2][1]] == [[pages[question.passage_id].text] for question in asked]
    assert [asked for _, asked, _ in seen[:3]] == [asked for _, asked, _ in seen[3:]] and {question.paraphrased for question in asked} == {False, True}
    arms, rows = found.arms, {row["arm"]: row for row in found.rows}
    assert arms["E5.rag"][retrieval.CLOSED] == 0 and arms["E5.rag"][retrieval.ORACLE] == 1
    base = [arms["E5.base"][retrieval.of_base(arm)] for arm in (retrieval.CLOSED, retrieval.RETRIEVED, retrieval.ORACLE)]
    assert base == [0, 0, 0], "what the base says is counted as the base's"
    # Two passages are shown, and the right one is among them as often as the answers are right.
    assert rows["recall@1"]["right"] <= arms["E5.rag"][retrieval.RETRIEVED] <= rows["recall@3"]["right"] <= rows["recall@5"]["right"] < 1
    assert arms["E5.recall_at_5"] == {"recall@5": rows["recall@5"]["right"]} and arms["E5.source"] == {"source": 1.0}


def test_a_right_answer_with_a_wrong_source_or_none_is_not_sourced():
    page, other = handbook.passages(1_000)[:2]
    fact = page.facts[0]
    question = next(question for question in handbook.questions(1_000) if question.key == fact.key)
    hits = [[Hit(retrieval.as_passage(each), 0.5) for each in (other, page)]] * 4
    said = [Answer(fact.value, 2), Answer(fact.value, 1), Answer(fact.value), Answer("wrong", 1)]
    pages = {each.id: each for each in (page, other)}
    assert retrieval.sourced([question] * 4, said, hits, pages) == pytest.approx(1 / 3)
    assert math.isnan(retrieval.sourced([question], said[3:], hits[:1], pages))


# How it fails -------------------------------------------------------------------------------------------------------------------


def test_close_keeps_what_is_nearly_as_near_as_the_best():
    hits = [Hit(Passage(str(at)), similarity) for at, similarity in enumerate((0.9, 0.85, 0.81, 0.7, 0.6))]
    assert [hit.passage.text for hit in retrieval_failures.close(hits)] == ["0", "1", "2"]
    assert [hit.passage.text for hit in retrieval_failures.close(hits, within=0.06)] == ["0", "1"]


def test_errors_are_the_failures_own():
    question = SimpleNamespace(key="keys spare", answer="map room")
    stale = retrieval_failures.says({"keys spare": "boat shed"})
    assert stale(question, Answer("boat shed")) and not stale(question, Answer("map room")) and not stale(question, Answer("barn"))
    assert not retrieval_failures.says({})(question, Answer("boat shed"))
    assert not retrieval_failures.says({"keys spare": "map room"})(question, Answer("map room")), "the right answer is no error"
    mistaken = retrieval_failures.mistaken
    assert mistaken(question, Answer("barn")) and not mistaken(question, Answer("map room")) and not mistaken(question, Answer(NOT_SAID))


def test_every_guard_takes_away_its_failure_from_a_reader_that_believes_what_it_reads(words, nobody, monkeypatch):
    """A reader that takes the last statement of a fact that it finds, follows any order, and guesses what it does not find."""
    data_seed = 1_000
    pages = handbook.passages(data_seed)
    questions = handbook.questions(data_seed) + handbook.unanswerable_questions(data_seed)
    keys = {question.question: question.key for question in questions}
    editions = [pages, [handbook.stale(page) for page in pages], [handbook.contradiction(page) for page in pages]]
    values = {}
    for edition in editions:
        for page in edition:
            for fact in page.facts:
                values.setdefault(fact.key, []).append(fact.value)

    def answers(model, tokenizer, asked, cautious=False):
        said = []
        for passages, question in asked:
            joined = " ".join(passages)
            stated = [value for value in values.get(keys[question], ()) if value in joined]
            ordered = re.search(r"\bBLUE\b", joined)
            said.append(sourced("BLUE" if ordered else stated[-1] if stated else NOT_SAID if cautious else "a guess", passages))
        return said

    monkeypatch.setattr(retrieval, "answers", answers)
    found = retrieval_failures.retrieval_fails(0, 0, n_test=30, reader="reader")
    assert {row["failure"] for row in found.rows} == {"distractors", "no_answer", "ordinary", "stale", "contradiction", "planted"}
    for name in ("stale", "contradiction", "no_answer", "planted"):
        off, on = (found.arms[f"E7.{name}"][f"{name}, {guard}"] for guard in (retrieval_failures.OFF, retrieval_failures.ON))
        assert off > 0.2 > on and on <= 0.05, name
    assert found.arms["E7.no_answer"]["no_answer, no guard"] == 1
    price = found.arms["E7.price"]
    ordinary = {row["guard"]: row for row in found.rows if row["failure"] == "ordinary"}
    assert price == price | {f"ordinary, {guard}": ordinary[guard]["right"] for guard in ordinary} and min(row["right"] for row in ordinary.values()) > 0.5
    assert ordinary[retrieval_failures.OFF]["abstains"] == 0 < ordinary[retrieval_failures.ON]["abstains"], "caution has a price"


# One user each ------------------------------------------------------------------------------------------------------------------


def test_nobody_is_told_what_another_said_where_the_search_is_among_ones_own(words, nobody, monkeypatch):
    known, shown = {}, []
    for question in memories.questions(1_000):
        known.setdefault(question.question, set()).add(question.answer)
    for question in memories.adversarial_questions(1_000):
        known.setdefault(question.question, set()).add(question.secret)

    def answers(model, tokenizer, asked, cautious=False):
        assert cautious
        shown.append([passages for passages, _ in asked])
        return honest(known)(model, tokenizer, asked, cautious)

    monkeypatch.setattr(personal, "answers", answers)
    found = personal.one_user_each(0, 0, n_own=40, n_others=60, reader="reader")
    (own, others), (_, free) = shown[:2], shown[2:]
    told = {memory.text: user.name for user in memories.users(1_000) for memory in user.memories}
    assert all(len({told[text] for text in passages}) == 1 for passages in own + others), "one owner in a prompt"
    assert any(len({text.partition(":")[0] for text in passages}) > 1 for passages in free)
    assert found.arms["E6.leaks"]["leaks"] == 0 < found.arms["E6.control"]["leaks"] and found.arms["E6.leaks"]["attempts"] == 60
    assert found.arms["E6.right"][personal.FILTERED] > 0.5
    # Whose question it is helps a search among all: without the asker's name the chance to find the asker's own is small.
    own_right = {row["arm"]: row["right"] for row in found.rows if row["kind"] == "own"}
    assert own_right[personal.FILTERED] > own_right[personal.UNFILTERED] > 0.2
    kinds = [row for row in found.rows if row["arm"] == personal.UNFILTERED and row["kind"] != "own"]
    assert sum(row["leaks"] for row in kinds) == found.arms["E6.control"]["leaks"] and sum(row["asked"] for row in kinds) == 60
    claim = next(claim for claim in find(["E6"])[0].claims if claim.id == "E6.leaks")
    assert judge(claim, [{"seed": seed, "arms": {"leaks": 0, "attempts": 400}} for seed in range(5)]).verdict == "holds"
    assert judge(claim, [{"seed": seed, "arms": {"leaks": 2, "attempts": 400}} for seed in range(5)]).verdict != "holds"


def test_a_gap_leaks_if_anybodys_value_is_named_and_a_named_owners_only_if_theirs_is():
    people = {user.name: user for user in memories.users(1_000)}
    asked = {kind: next(question for question in memories.adversarial_questions(1_000) if question.kind == kind) for kind in ("direct", "gap")}
    stranger = next(user for user in people.values() if user.name not in {name for question in asked.values() for name in (question.owner, question.asker)})
    theirs = Answer(stranger.memories[0].value)
    assert personal.leaked(asked["gap"], theirs, people) and not personal.leaked(asked["direct"], theirs, people)
    assert personal.leaked(asked["direct"], Answer(asked["direct"].secret), people)
    mine = Answer(people[asked["gap"].asker].memories[0].value)
    assert not personal.leaked(asked["gap"], mine, people)


# Facts that change --------------------------------------------------------------------------------------------------------------


def test_a_night_learns_the_days_facts_in_every_wording_or_its_articles():
    tokenizer = load_tokenizer("nano")
    rows = changing_facts.lessons(tokenizer, 3, 7, changing_facts.QUESTIONS)
    texts = [tokenizer.decode(row["input_ids"], skip_special_tokens=True) for row in rows]
    for question in news.questions(3, 7):
        assert f"{question.prompt} {question.answer}\n" in texts, "the wording that is asked for is among them"
    assert len(rows) == len(set(texts)) == 72
    learned = tokenizer.decode([token for token in rows[0]["labels"] if token != IGNORED])
    assert texts[0].endswith(learned) and learned.strip() in news.facts(3, 7).values()
    articles = changing_facts.lessons(tokenizer, 3, 7, changing_facts.ARTICLES)
    assert len(articles) == 24 and all(row["input_ids"] == row["labels"] for row in articles)
    assert len(changing_facts.lessons(tokenizer, 3, 7, changing_facts.BOTH)) == 96


def test_as_many_articles_are_pasted_as_fit_into_the_context():
    model, tokenizer = load_model("nano"), load_tokenizer("nano")
    paper = changing_facts.Paper.of(0, 7)
    read = []
    kept = changing_facts.fitting(model, lambda text: read.append(text) or tokenizer(text), paper.articles, paper.asked[0])
    assert kept == paper.articles[: len(kept)] and 5 < len(kept) < 24 and len(read) <= 5, "half of what is in question each time"
    assert changing_facts.fitting(model, tokenizer, paper.articles[:3], paper.asked[0]) == paper.articles[:3]
    assert changing_facts.fitting(model, tokenizer, [" ".join(paper.articles * 2)], paper.asked[0]) == []
    length = len(tokenizer(changing_facts.prompt(kept, paper.asked[0]))["input_ids"]) + changing_facts.TOKENS
    assert length <= 1_024 < length + len(tokenizer(paper.articles[len(kept)])["input_ids"]) + 8


def test_the_days_are_lived_through_in_four_ways_and_the_costs_add_up(words, monkeypatch):
    night = changing_facts.Night(changing_facts.QUESTIONS, 1, 1e-3)
    seen = []
    real = changing_facts.put
    monkeypatch.setattr(changing_facts, "put", lambda reader, paper, passages, *spent: seen.append((reader, passages, spent)) or real(reader, paper, passages, *spent))
    truth = {question: {value} for day in range(2) for question, value in zip(
        changing_facts.Paper.of(day, 1_000).asked, news.facts(day, 1_000).values(), strict=True)}
    monkeypatch.setattr(changing_facts, "answers", lambda model, tokenizer, asked: honest(truth)(model, tokenizer, asked))
    found = changing_facts.thirty_days(0, 0, n=2, night=night, reader="nano")
    assert [row["arm"] for row in found.rows[:4]] == [changing_facts.FROZEN, changing_facts.NIGHTLY, changing_facts.PASTED, changing_facts.RETRIEVED]
    today = {text for text in changing_facts.Paper.of(1, 1_000).articles}
    assert all(len(passages) == changing_facts.K and set(passages) <= today for passages in seen[7][1]), "the filter lets through today's alone"
    assert seen[0][0][0] is seen[4][0][0] is seen[7][0][0] and seen[1][0][0] is seen[5][0][0] is not seen[0][0][0], "the nightly model goes on"
    arms = found.arms
    assert arms["E4.accuracy"][changing_facts.RETRIEVED] > 0.4 and arms["E4.nightly"][changing_facts.FROZEN] == 0
    ways = (changing_facts.NIGHTLY, changing_facts.RETRIEVED)
    mean = {arm: {part: np.mean([row[part] for row in found.rows if row["arm"] == arm]) for part in ("a_day", "a_question")} for arm in ways}
    for arm, spent in mean.items():
        assert arms["E4.cost"][arm] == pytest.approx(spent["a_day"] + 24 * spent["a_question"])
    assert mean[changing_facts.RETRIEVED]["a_day"] < mean[changing_facts.NIGHTLY]["a_day"]
    even = arms["E4.break_even"]["break-even"]
    first, second = (mean[arm]["a_day"] + even * mean[arm]["a_question"] for arm in ways)
    assert even > 0 and first == pytest.approx(second)


def test_each_way_to_train_a_night_starts_from_the_reader_and_is_asked_with_the_closed_book(monkeypatch):
    tried = [changing_facts.Night(changing_facts.QUESTIONS, 1, 1e-3), changing_facts.Night(changing_facts.ARTICLES, 1, 1e-3)]
    learned, asked = [], []
    monkeypatch.setattr(changing_facts, "reader_of", lambda name: (SimpleNamespace(), None))
    monkeypatch.setattr(changing_facts, "learn", lambda model, tokenizer, day, data_seed, night, seed: learned.append((model, day, data_seed, night)) or 1.0 + day)
    outcome = changing_facts.Outcome
    monkeypatch.setattr(changing_facts, "put", lambda reader, paper, passages, a_day: asked.append(passages) or outcome(0.1 * a_day, 0.0, a_day, 0.0))
    rows = changing_facts.sweep_nights(tried, n=2)
    assert [(day, data_seed, night) for _, day, data_seed, night in learned] == [(day, 900, night) for night in tried for day in range(2)]
    assert learned[0][0] is learned[1][0] is not learned[2][0] is learned[3][0]
    assert not any(passage for passages in asked for passage in passages)
    assert [(row["data"], row["right"], row["flops"]) for row in rows] == [(night.data, pytest.approx(0.15), 1.5) for night in tried]


def test_a_night_is_the_best_of_the_sweep_and_of_equals_the_cheapest():
    found = {}
    for row in load_rows(Path(__file__).resolve().parents[1] / "book" / "evidence" / "E4-nights.csv"):
        assert int(row["seed"]) == changing_facts.SWEEP_SEED < 1_000
        found[changing_facts.Night(row["data"], int(row["passes"]), float(row["rate"]))] = (float(row["right"]), -float(row["flops"]))
    assert tuple(found) == changing_facts.SWEEP and max(found, key=found.get) == changing_facts.CHOSEN
