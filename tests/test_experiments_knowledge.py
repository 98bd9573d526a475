"""The experiments of chapter 3 on raw text, at a scale that takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from finetunelab.evidence.store import load_rows
from finetunelab.experiments import experiments, seed_of_data
from finetunelab.experiments import knowledge as chapter
from finetunelab.experiments import knowledge_language as language
from finetunelab.experiments import knowledge_real as real
from finetunelab.models import load_model, load_tokenizer
from finetunelab.ngram import NGram
from finetunelab.worlds import clinic

EVIDENCE = Path(__file__).resolve().parents[1] / "book" / "evidence"


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("nano")


def rates(experiment: str) -> list[dict[str, str]]:
    """Return what a sweep measured, on a data seed that no reported seed draws."""
    rows = load_rows(EVIDENCE / f"{experiment}-rates.csv")
    assert {row["seed"] for row in rows} == {str(chapter.SWEEP_SEED)} and chapter.SWEEP_SEED < seed_of_data(0, 0)
    return rows


def best(rows: list[dict[str, str]], choice: str, score: str, pick=min) -> tuple[list[float], float]:
    """Return what was tried and the best of it, which is neither the first nor the last: the sweep went far enough."""
    scores = {float(row[choice]): float(row[score]) for row in rows}
    tried, found = sorted(scores), pick(scores, key=scores.get)
    assert tried[0] < found < tried[-1]
    return tried, found


def test_no_row_cuts_off_the_end_of_a_text(tokenizer):
    longest = max(map(len, tokenizer(chapter.clinic_texts(1_000, "train", 1))["input_ids"]))
    assert longest < chapter.LENGTH
    texts = language.stories(1_000, "train", 1) + language.together(language.town_texts(300, "train", 1))
    assert max(map(len, tokenizer(texts)["input_ids"])) < language.LENGTH


def test_no_document_has_the_wording_of_a_question():
    texts = " ".join(chapter.clinic_texts(300, "train", 7)).lower()
    assert not any(question.prompt.lower() in texts for question in clinic.cloze(7))


def test_reading_lowers_perplexity_and_is_what_c1_reports():
    found = chapter.raw_text(0, 0, documents=60, steps=12, n_test=20, base="nano-small")
    rows = {row["arm"]: row for row in found.rows}
    assert rows["after"]["perplexity"] < 0.5 * rows["before"]["perplexity"]
    assert found.arms["C1.perplexity"] == {arm: rows[arm]["perplexity"] for arm in ("before", "after")}
    assert found.arms["C1.recall"] == found.arms["C1.gain"] == {arm: rows[arm]["recall"] for arm in ("before", "after")}
    assert rows["before"]["steps"] == 0 and rows["after"]["steps"] == 12
    assert rows["before"]["written"] == 0, "no model knows a word of the clinic before it has read of it"


def test_questions_as_worded_are_sentences_of_the_texts_cut_before_a_fact():
    texts, known = chapter.clinic_texts(30, "test", 5), {(fact.entity, fact.relation): fact.answer for fact in clinic.facts(5)}
    questions = chapter.as_worded(texts, 5)
    assert len(questions) > 20 and len({question.relation for question in questions}) == 7
    for question in questions:
        assert any(f"{question.prompt} {question.answer}" in text for text in texts) and question.entity in question.prompt.lower()
        assert question.answer == known[question.entity, question.relation] not in question.prompt
        values = {answer for (_, relation), answer in known.items() if relation == question.relation}
        assert set(question.distractors) <= values - {question.answer} and len(set(question.distractors)) == clinic.DISTRACTORS


def test_knowledge_is_asked_of_the_facts_that_were_drawn(tokenizer, monkeypatch):
    asked = {}
    monkeypatch.setattr(chapter, "perplexity", lambda model, tokenizer, texts: len(texts))
    monkeypatch.setattr(chapter, "recall", lambda model, tokenizer, questions: asked.setdefault("recall", questions) and 0.5)
    monkeypatch.setattr(chapter, "written", lambda model, tokenizer, questions, oracle: asked.setdefault("written", questions) and 0.25)
    assert chapter.knowledge(None, tokenizer, ["a", "b"], 1004) == {"perplexity": 2, "recall": 0.5, "as worded": 0.5, "written": 0.25}
    assert asked["recall"] == asked["written"] == clinic.cloze(1004)


def test_facts_that_are_read_over_and_over_are_recalled():
    """The base learns a few documents by heart: what they state is chosen and written, in the documents' own words."""
    rows = [row for row in chapter.worlds.generator("clinic").rows(200, "train", 5) if row["kind"] == "entry"][:4]
    model, tokenizer = load_model("nano"), load_tokenizer("nano")
    chapter.continue_training(model, tokenizer, [row["text"] for row in rows], chapter.config(60, 3e-3, 0, 1), length=chapter.LENGTH)
    questions = []
    for row in rows:
        answer = row["facts"][-1].split(" / ")[2]
        questions.append(clinic.Cloze(row["text"][: row["text"].index(answer)].rstrip(), answer, ("old books", "wet socks"), "", ""))
    assert chapter.recall(model, tokenizer, questions) == 1
    assert chapter.written(model, tokenizer, questions, clinic.correct) >= 0.75


def test_the_kept_reader_is_the_same_for_all_claims(monkeypatch):
    monkeypatch.setattr(chapter, "ANSWER_TOKENS", 2)
    arguments = {"documents": 40, "steps": 3, "base": "nano-small"}
    chapter.reader.cache_clear()
    chapter.raw_text(0, 0, n_test=5, **arguments)
    first = chapter.reader(0, 1000, 40, 3, "nano-small")[0]
    before = {name: value.clone() for name, value in first.state_dict().items()}
    chapter.more_text(0, 0, parts=(0.5, 1), n_test=5, **arguments)
    chapter.no_behavior(0, 0, n_valid=2, n_test=2, **arguments)
    assert chapter.reader.cache_info().misses == 2, "a part of the documents and the whole, each read once"
    assert all(torch.equal(value, before[name]) for name, value in first.state_dict().items())


def test_more_text_is_more_of_the_same_documents(monkeypatch):
    read = []
    monkeypatch.setattr(chapter, "reader", lambda seed, drawn, n, steps, base: read.append((n, steps)) or (None, chapter.Cost(steps=steps)))
    monkeypatch.setattr(chapter, "knowledge", lambda *_: {"recall": 0.1 * len(read)})
    found = chapter.more_text(0, 0, documents=640, steps=320)
    least = round(320 * chapter.LEAST_STEPS)
    assert read == [(20, least), (40, least), (80, max(40, least)), (160, max(80, least)), (320, 160), (640, 320)]
    claim = experiments()["C2"].claims[0]
    assert tuple(found.arms["C2"]) == claim.trend and (claim.control, claim.treatment) == (claim.trend[0], claim.trend[-1])
    assert found.arms["C2"]["1"] == pytest.approx(0.6)


# Behavior


def test_prompts_hold_the_instruction_and_no_answer(tokenizer):
    rows = chapter.instructions(5, "test", 3)
    chat, plain, shots = (chapter.prompts_for(form, rows, tokenizer, 3, shots=2) for form in chapter.FORMATS)
    for row, *prompts in zip(rows, chat, plain, shots, strict=True):
        assert all(row["prompt"] in prompt for prompt in prompts)
        assert prompts[0] == f"<|user|>{row['prompt']}<|end|><|assistant|>"
        assert prompts[1] == f"User: {row['prompt']}\nAssistant:" and prompts[2].endswith(f"\n\n{prompts[1]}")
        assert prompts[2].count("User:") == 3
    shown = chapter.instructions(10, "train", 3)
    assert [row["text"] in shots[i // 2] for i, row in enumerate(shown)] == [True] * 10


def test_an_answer_in_any_format_is_judged_by_the_oracle(tokenizer, monkeypatch):
    rows = chapter.instructions(6, "test", 3)
    answers = [f" {row['answer']}" for row in rows[:3]] + ["", " I do not know", " "]
    monkeypatch.setattr(chapter, "generate", lambda model, tokenizer, prompts, tokens, stop: answers)
    assert all(chapter.followed(None, tokenizer, rows, form, 3) == 0.5 for form in chapter.FORMATS)


def test_the_format_is_chosen_on_validation_for_each_model(monkeypatch):
    models = {"before": object(), "after": object()}
    monkeypatch.setattr(chapter, "load_model", lambda base: models["before"])
    monkeypatch.setattr(chapter, "reader", lambda *_: (models["after"], chapter.Cost()))
    scores = {  # (validation, test)
        "before": {"chat": (0.0, 0.5), "plain": (0.1, 0.02), "few-shot": (0.05, 0.3)},
        "after": {"chat": (0.0, 0.9), "plain": (0.1, 0.8), "few-shot": (0.2, 0.04)},
    }

    def followed(model, tokenizer, rows, form, drawn):
        arm = next(name for name, value in models.items() if value is model)
        return scores[arm][form][len(rows) == 7]

    monkeypatch.setattr(chapter, "followed", followed)
    found = chapter.no_behavior(0, 0, n_valid=3, n_test=7)
    assert found.arms["C4"] == {"before": 0.02, "after": 0.04}
    assert [(row["arm"], row["format"]) for row in found.rows if row["chosen"]] == [("before", "plain"), ("after", "few-shot")]
    assert len(found.rows) == 6


# A new language


def test_each_reader_reads_the_same_stories_and_replay_adds_texts_of_the_town(monkeypatch):
    read = []

    def spy(model, tokenizer, texts, config, length):
        read.append((list(texts), config.steps, config.learning_rate, config.batch_size))
        return chapter.continue_training(model, tokenizer, texts, config, length)

    monkeypatch.setattr(language, "continue_training", spy)
    settings = (("SHARE", 0.25), ("PASSES", 2), ("REPLAY_RATE", 5e-4), ("REPLAY_ROWS", 4), ("RATES", {"continued": 1e-3, "scratch": 2e-3}))
    for name, value in settings:
        monkeypatch.setattr(language, name, value)
    monkeypatch.setattr(language.read_with_replay, "__defaults__", (5e-4,))
    found = language.new_language(0, 0, n=12, steps=6, n_test=6, n_old=2, order=3, base="nano-small")
    stories = language.stories(12, "train", 1000)
    (continued, *one), (slowly, *two), (replay, *three), (scratch, *four) = read
    assert continued == slowly == scratch == stories
    assert (one, two, three, four) == ([6, 1e-3, 2], [3, 5e-4, 4], [4, 5e-4, 4], [6, 2e-3, 2])
    added = [text for text in replay if text not in stories]
    assert len(set(added)) == len(added) == 8 and set(added) <= set(language.replayed(12, 1000))
    assert sorted(text for text in replay if text in stories) == sorted(2 * stories), "each story as often as passes are made over them"

    rows = {row["arm"]: row for row in found.rows}
    assert rows["n-gram"]["language"] == NGram(stories, 3).bits_per_byte(language.stories(6, "test", 1000))
    assert rows["continued"]["language"] < 0.7 * rows["before"]["language"]
    assert found.arms["C3.new"] == found.arms["C3.ngram"] == {arm: row["language"] for arm, row in rows.items()}
    assert found.arms["C3.old"] == found.arms["C3.replay"] == {arm: row["town"] for arm, row in rows.items() if arm != "n-gram"}
    assert rows["before"]["town"] < rows["scratch"]["town"]


def test_the_base_is_left_as_it_was():
    model, tokenizer = load_model("nano-small"), load_tokenizer("nano-small")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made, cost = language.read(model, tokenizer, language.stories(4, "train", 1), 2, 1e-3, 0)
    assert cost.steps == 2 and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert any(not torch.equal(value, before[name]) for name, value in made.state_dict().items())


# Sweeps


def test_what_c1_is_trained_with_is_the_best_of_its_sweep():
    scores = {(int(row["rows"]), int(row["steps"]), float(row["rate"])): float(row["recall"]) for row in rates("C1")}
    chosen = chapter.ROWS, chapter.STEPS, chapter.RATE
    assert tuple(scores) == chapter.SWEEP and max(scores, key=scores.get) == chosen
    # The best lies between others: of as many tokens in steps of other sizes, of other numbers of steps, of other rates.
    tokens = [rows for rows, steps, rate in scores if rows * steps == chosen[0] * chosen[1] and rate == chosen[2]]
    steps = [steps for rows, steps, rate in scores if (rows, rate) == (chosen[0], chosen[2])]
    tried = [rate for *other, rate in scores if tuple(other) == chosen[:2]]
    assert all(min(values) < found < max(values) for values, found in zip((tokens, steps, tried), chosen, strict=True))


def test_the_fewest_steps_are_those_that_teach_the_smallest_part_most():
    assert best(rates("C2"), "least", "perplexity") == (sorted(chapter.LEAST_SWEEP), chapter.LEAST_STEPS)
    assert all(float(row["recall"]) < 0.25 for row in rates("C2")), "at chance, so that perplexity has to choose"


def test_the_new_language_is_learned_with_what_its_sweeps_chose():
    rows = rates("C3")
    for arm, rate in language.RATES.items():
        assert best([row for row in rows if row["arm"] == arm], "value", "language") == (sorted(language.RATE_SWEEP), rate)
    bits = {int(row["value"]): float(row["language"]) for row in rows if row["phase"] == "order"}
    assert tuple(bits) == language.ORDER_SWEEP
    assert min(order for order, found in bits.items() if found < min(bits.values()) + 1e-3) == language.ORDER < max(bits)
    replay = {float(row["value"]): float(row["town ratio"]) for row in rows if row["phase"] == "replay"}
    assert tuple(replay) == language.REPLAY_SWEEP
    assert max(rate for rate, ratio in replay.items() if ratio <= language.KEPT) == language.REPLAY_RATE


def test_the_sweeps_try_what_they_say():
    tried = ((2, 2, 1e-3), (2, 2, 1e-2), (1, 2, 1e-3), (2, 3, 1e-3))
    rows = chapter.sweep_clinic(tried, documents=20, n=5, base="nano-small")
    assert [(row["rows"], row["steps"], row["rate"]) for row in rows] == list(tried)
    assert len({row["perplexity"] for row in rows}) == 4
    rows = language.sweep_language(rates=(1e-3, 1e-2), n=4, steps=2, n_valid=4, base="nano-small")
    assert [(row["arm"], row["value"]) for row in rows] == [(arm, rate) for arm in ("continued", "scratch") for rate in (1e-3, 1e-2)]
    assert len({row["language"] for row in rows}) == 4
    rows = language.sweep_replay((1e-3, 1e-2), n=8, steps=8, n_valid=2, base="nano-small")
    assert [row["value"] for row in rows] == [1e-3, 1e-2] and len({row["town ratio"] for row in rows}) == 2
    assert len({row["language"] for row in language.sweep_ngram(orders=(2, 4), n=8, n_valid=4)}) == 2


# Real text


def test_real_texts_of_the_sweep_and_of_the_report_are_others(real_folder):
    sides = real.cut_abstracts(real.SWEEP), real.cut_abstracts(real.REPORT)
    assert not set(sides[0]) & set(sides[1]) and 900 < sum(map(len, sides)) <= 1000 and len(sides[0]) >= real.TESTED
    train, test = real.drawn_abstracts((real.TRAINED, real.TESTED), 1000)
    assert len(train) == real.TRAINED and len(test) == real.TESTED and not set(train) & set(test)
    tokenizer = load_tokenizer(str(real.weights(real.STORIES)))
    assert max(map(len, tokenizer(test)["input_ids"])) < real.LENGTH


def test_a_model_of_stories_learns_from_abstracts(real_folder):
    found = real.real_text(0, 0, n=20, n_test=4, steps=10)
    arms = found.arms["C1.real"]
    assert arms["after"] < arms["before"] and [row["steps"] for row in found.rows] == [0, 10]


def test_the_rate_on_real_texts_is_the_best_of_its_sweep():
    assert best(rates("C1.real"), "rate", "bits per byte") == (sorted(real.RATE_SWEEP), real.RATE)
