"""The recipe of ``nano-reader``: what it reads, what a row asks of it, and that no reported edition is among what it is taught."""

from __future__ import annotations

import json
import random
from itertools import islice

import pytest
import torch
from safetensors import safe_open

from finetunelab import reading as recipe
from finetunelab import worlds
from finetunelab.experiments import seed_of_data
from finetunelab.models import CHECKPOINTS, load_tokenizer, shipped
from finetunelab.retrieval.rag import CAUTION, NOT_SAID, Answer
from finetunelab.sft import IGNORED
from finetunelab.worlds import handbook, memories, news

SHIPPED = CHECKPOINTS / recipe.NAME


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(recipe.BASE)


@pytest.mark.parametrize("kind", list(recipe.SHELVES))
def test_every_question_is_answered_by_the_passage_that_is_named_and_by_no_other_if_none_is(kind):
    for seed in range(12):
        rng = random.Random(seed)
        read = recipe.reading(recipe.SHELVES[kind](5, rng), 3, rng)
        assert len(read.shown) == 3 == len({document.text for document in read.shown}) and 0 < len(read.asked) <= recipe.QUESTIONS
        assert len({asked.key for asked in read.asked}) == len(read.asked), "no fact is asked for twice"
        for asked in read.asked:
            stating = [place for place, document in enumerate(read.shown) if asked.key in document.facts]
            assert (asked.place is None and not stating) or asked.place == stating[0]
            if asked.place is not None:
                words, answer = read.shown[asked.place].facts[asked.key]
                assert asked.question in words and asked.answer == answer and answer.lower() in read.shown[asked.place].text.lower()


def test_the_worlds_own_rules_accept_the_answers():
    rng = random.Random(0)
    asked = recipe.reading(recipe.handbook_pages(3, rng), 3, rng, 0.0).asked[0]
    question = next(question for question in handbook.questions(3, 1) if question.question == asked.question)
    assert handbook.correct(question, f" {asked.answer}")
    rng = random.Random(0)
    day = random.Random(0).randrange(news.DAYS)
    asked = recipe.reading(recipe.paper(3, rng), 3, rng, 0.0).asked[0]
    question = next(question for question in news.questions(day, 3) if question.slot == asked.key)
    assert question.prompt == f"Question: {asked.question} Answer:" and news.correct(question, f" {asked.answer}")
    rng = random.Random(0)
    user = random.Random(0).choice(memories.users(3))
    asked = recipe.reading(recipe.told(3, rng), 3, rng, 0.0).asked[0]
    question = next(question for question in memories.questions(3) if (question.user, question.key) == (user.name, asked.key))
    assert question.question == asked.question and memories.correct(question, f" {asked.answer}")


def test_how_much_is_missing_can_be_asked_for():
    rng = random.Random(1)
    documents = recipe.handbook_pages(3, rng)
    assert all(asked.place is not None for asked in recipe.reading(documents, 4, rng, 0.0).asked[:4])
    assert all(asked.place is None for asked in recipe.reading(documents, 4, rng, 1.0).asked)
    assert all(asked.place is None for asked in recipe.reading(documents, 0, rng, 0.0).asked), "with a closed book everything is"


def test_only_answers_carry_a_label_and_they_answer_guess_or_abstain(tokenizer):
    shown = [recipe.Document("The saw hangs in the hall.", {}), recipe.Document("Oars\nPaddles are green.", {})]
    asked = [recipe.Asked("Which color?", "green", "a", 1), recipe.Asked("Who?", "Ann Lee", "b", None)]

    def learned(cautious: bool) -> tuple[str, str]:
        row = recipe.row(tokenizer, recipe.Reading(shown, asked), cautious)
        assert len(row["input_ids"]) == len(row["labels"])
        said = [token for token in row["labels"] if token != IGNORED]
        assert all(label in (IGNORED, token) for token, label in zip(row["input_ids"], row["labels"], strict=True))
        return tokenizer.decode(row["input_ids"], skip_special_tokens=True), tokenizer.decode(said)

    passages = "[1] The saw hangs in the hall.\n[2] Oars\nPaddles are green."
    text, said = learned(False)
    assert text == f"{passages}\n\nQuestion: Which color? Answer: green\nQuestion: Who? Answer: Ann Lee\n" and said == " green\n Ann Lee\n"
    text, said = learned(True)
    assert text.startswith(f"{passages}\n{CAUTION}\n\nQuestion: Which color?") and said == f" green\n {NOT_SAID}\n"


def test_no_reported_edition_is_read_and_the_kinds_come_in_their_shares():
    assert max(recipe.EDITIONS) < 900 < seed_of_data(0, 0), "900 to 999 are left for sweeps"
    drawn = list(islice(recipe.readings(300, 0), 300))
    assert [read.passages for read, _ in drawn[:20]] == [read.passages for read, _ in recipe.readings(20, 0)] != [
        read.passages for read, _ in recipe.readings(20, 1)
    ]
    closed = [cautious for read, cautious in drawn if not read.shown]
    assert 2 <= len(closed) <= 30 and not any(closed), "there is nothing to be cautious about"
    assert 0.35 < sum(cautious for _, cautious in drawn) / 300 < 0.6
    assert {len(read.shown) for read, _ in drawn} == set(range(7)), "none, and up to six memories"


def test_marks_count_answers_sources_and_abstentions():
    shown = [recipe.Document("", {"a": ([], "green")}), recipe.Document("", {"b": ([], "red")})]
    read = [recipe.Reading(shown, [recipe.Asked("?", "green", "a", 0)])] * 4
    said = [Answer("Green.", 1), Answer("green", 2), Answer("blue", 1), Answer("not said", None)]
    assert recipe.marked(read, said) == {"right": 0.5, "source": 0.5, "abstains": 0.25}


def test_it_can_be_built_again_and_a_finished_build_is_kept(tmp_path):
    said = []
    built = recipe.build(tmp_path, scale=0.0005, say=said.append)
    made = json.loads((built / "recipe.json").read_text())
    assert made["readings"] <= 20 and made["editions"] == [1, 899] and made["config"]["steps"] > 0
    before = (built / "model.safetensors").stat().st_mtime_ns
    assert recipe.build(tmp_path, scale=0.0005, say=said.append) == built and "is finished" in said[-1]
    assert (built / "model.safetensors").stat().st_mtime_ns == before
    found = recipe.measure(built, 1_000, 2)
    assert set(found) == {f"{kind}/{name}" for kind in recipe.SHOWN for name in ("right", "source", "careful", "abstains", "closed")}
    assert all(0 <= value <= 1 for value in found.values())


@pytest.mark.slow
def test_it_does_what_its_card_says():
    report = json.loads((SHIPPED / "report.json").read_text())
    found = recipe.measure(SHIPPED, report["data_seeds"][0], report["asked"])
    for skill, values in report["measured"].items():
        assert found[skill] == pytest.approx(values[0], abs=0.04), skill
    assert (SHIPPED / "README.md").read_text() == recipe.card(SHIPPED)


def test_the_shipped_one_was_made_by_this_recipe():
    made = json.loads((SHIPPED / "recipe.json").read_text())
    assert recipe.NAME in shipped() and made["base"] == recipe.BASE and made["editions"] == [recipe.EDITIONS[0], recipe.EDITIONS[-1]]
    assert made["world_hash"] == worlds.frozen_hash() and 0.99 * recipe.READINGS < made["readings"] <= recipe.READINGS
    assert (made["config"]["learning_rate"], made["config"]["batch_size"], made["length"]) == (recipe.RATE, recipe.ROWS, recipe.LENGTH)
    with safe_open(SHIPPED / "model.safetensors", "pt") as stored:
        assert {stored.get_tensor(name).dtype for name in stored.keys()} == {torch.bfloat16}
