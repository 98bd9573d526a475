"""The experiments of chapter 3 on behavior, at a scale that takes seconds; and the shipped assistant that some of them start from."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import pytest

from finetunelab import assistant as recipe
from finetunelab import sft
from finetunelab.cost import Cost
from finetunelab.evidence.store import load_rows
from finetunelab.experiments import behavior as chapter
from finetunelab.experiments import behavior_data as data
from finetunelab.experiments import conversations as talk
from finetunelab.models import CHECKPOINTS, load_model, load_tokenizer
from finetunelab.sft import following, prepare, tokenize
from finetunelab.worlds.dialogues import correct
from finetunelab.worlds.instructions import COMBINATIONS, HELD_OUT_COMBINATIONS, HELD_OUT_KINDS, KINDS, follows

SMALL = "nano-small"
EVIDENCE = Path(__file__).resolve().parents[1] / "book" / "evidence"


@pytest.fixture(scope="module")
def assistant():
    return load_model("nano-sft"), load_tokenizer("nano-sft")


@pytest.fixture
def untrained(monkeypatch) -> list[list[dict]]:
    """Let no model be trained, "tuned" ones be the shipped assistant, and return a list that fills with what each would have seen."""
    seen = []

    def tune(rows, *_, **__):
        seen.append(rows)
        return load_model("nano-sft"), Cost()

    for module in (chapter, data):
        monkeypatch.setattr(module, "tune", tune)
    return seen


# What is drawn -----------------------------------------------------------------------------------------------------------------


def test_more_kinds_contain_fewer_and_have_forms_to_combine():
    for seed in range(20):
        drawn = chapter.some_kinds(seed)
        assert [len(set(kinds)) for kinds in drawn.values()] == list(chapter.COUNTS)
        for few, many in zip(chapter.COUNTS, chapter.COUNTS[1:], strict=False):
            assert set(drawn[few]) < set(drawn[many])
            assert len(chapter.within(drawn[few])) < len(chapter.within(drawn[many]))
        assert set(drawn[chapter.COUNTS[-1]]) == set(KINDS) - set(HELD_OUT_KINDS)
    assert chapter.some_kinds(0) != chapter.some_kinds(1)


def test_a_pair_is_trained_only_where_both_halves_are():
    assert chapter.within(["reverse", "capitals", "brackets"]) == ["reverse", "capitals", "brackets", "reverse+brackets"]
    everything = chapter.within(chapter.TRAINED_KINDS)
    assert not set(everything) & {*HELD_OUT_COMBINATIONS, *HELD_OUT_KINDS}
    assert set(everything) == {*chapter.TRAINED_KINDS, *COMBINATIONS} - set(HELD_OUT_COMBINATIONS)


def test_kinds_grow_and_what_is_tested_was_never_trained(untrained):
    found = chapter.diversity(0, 0, counts=(3, 11, 17), steps=20, n_test=8)
    seen = [{row["kind"] for row in rows} for rows in untrained]
    assert [len({part for kind in kinds for part in kind.split("+")}) for kinds in seen] == [3, 11, 17]
    assert not set().union(*seen) & {*HELD_OUT_COMBINATIONS, *HELD_OUT_KINDS}
    assert list(found.arms["C7.combinations"]) == ["3 kinds", "11 kinds", "17 kinds"] == list(found.arms["C7.kinds"])
    assert [(row["kinds"], row["unseen"]) for row in found.rows][:2] == [(3, "combinations"), (3, "kinds")]


def test_the_short_prompts_are_short_and_the_long_ones_long():
    tokenizer, ratios = load_tokenizer(), {}
    for kind in chapter.TRAINED_KINDS:
        masks = [tokenize(tokenizer, row["messages"])[1] for row in chapter.instructions(40, "train", 1, kind=kind)]
        ratios[kind] = sum(len(mask) - sum(mask) for mask in masks) / sum(map(sum, masks))
    ranked = sorted(ratios, key=ratios.get)
    assert set(data.PROMPTS["short"]) == set(ranked[:5]) and set(data.PROMPTS["long"]) == set(ranked[-5:])
    assert ratios[ranked[4]] <= 2 and ratios[ranked[-5]] >= 7


def test_loss_and_rates_are_the_best_of_the_sweep():
    rows = load_rows(EVIDENCE / "C5-rates.csv")
    assert {(row["loss"], float(row["rate"])) for row in rows} == {(loss, rate) for loss in ("answers only", "all tokens") for rate in chapter.RATE_SWEEP}
    best = {
        masked: max((row for row in rows if row["loss"] == loss), key=lambda row: float(row["followed"]))
        for masked, loss in ((True, "answers only"), (False, "all tokens"))
    }
    assert {masked: float(row["rate"]) for masked, row in best.items()} == chapter.RATES
    assert chapter.MASKED == (float(best[True]["followed"]) >= float(best[False]["followed"]))


def test_each_arm_of_the_masks_has_the_best_rate_of_its_sweep():
    rows = load_rows(EVIDENCE / "C9-rates.csv")
    assert len(rows) == 2 * 2 * len(chapter.RATE_SWEEP)
    for name, arms in data.MASK_RATES.items():
        for loss, rate in arms.items():
            own = [row for row in rows if (row["prompts"], row["loss"]) == (name, loss)]
            assert [float(row["rate"]) for row in own] == list(chapter.RATE_SWEEP)
            assert rate == float(max(own, key=lambda row: float(row["followed"]))["rate"])


def test_each_arm_of_the_conversations_has_the_best_rate_of_its_sweep():
    rows = load_rows(EVIDENCE / "C6-rates.csv")
    assert {row["arm"] for row in rows} == set(talk.ARMS) == set(talk.RATES)
    for arm, rate in talk.RATES.items():
        own = [row for row in rows if row["arm"] == arm]
        assert [float(row["rate"]) for row in own] == list(talk.RATE_SWEEP)
        assert rate == float(max(own, key=lambda row: float(row["right"]))["rate"])


# What is measured --------------------------------------------------------------------------------------------------------------


def test_training_teaches_the_form_of_an_answer():
    """A few steps on one kind do not make an assistant, but that kind's answers are often right, and they end."""
    tokenizer, rows = load_tokenizer(), chapter.instructions(25 * chapter.PER_STEP, "train", 5, kind="contains")
    tests = chapter.instructions(40, "test", 5, kind="contains")
    tuned, cost = chapter.tune(rows, 25, 0, rate=3e-3)
    assert fmean(following(tuned, tokenizer, tests)) >= 0.2 > 0.05 >= fmean(following(load_model(), tokenizer, tests))
    assert cost.steps == 25 and cost.flops > 0


def test_behavior_is_scored_kind_by_kind(untrained):
    found = chapter.behavior(0, 0, n_test=60)
    assert found.arms["C5"]["after SFT"] > 0.6 > found.arms["C5"]["base"]
    for arm, share in found.arms["C5"].items():
        rows = [row for row in found.rows if row["arm"] == arm]
        assert sum(row["n"] for row in rows) == 60
        assert sum(row["n"] * row["followed"] for row in rows) / 60 == pytest.approx(share)


def test_the_filter_keeps_what_the_writer_was_surer_of(assistant):
    model, tokenizer = assistant
    rows = chapter.instructions(100, "train", 6)
    written = data.written_by(model, tokenizer, rows, seed=1)
    assert [row["prompt"] for row in written] == [row["prompt"] for row in rows if row["prompt"] in {made["prompt"] for made in written}]
    assert all(row["messages"][1]["content"] == row["answer"] for row in written)
    assert data.written_by(model, tokenizer, rows[:8], seed=1) == data.written_by(model, tokenizer, rows[:8], seed=1)
    assert any(made["answer"] != row["answer"] for made, row in zip(written, rows, strict=False))
    kept = data.sure(model, tokenizer, written, share=0.5)
    assert len(kept) == round(len(written) / 2) and [row for row in written if row in kept] == kept
    right = [fmean(follows(row, row["answer"]) for row in part) for part in (written, kept)]
    assert right[1] > right[0]


def test_the_three_sets_are_of_one_size_and_start_from_the_same_instructions(untrained, monkeypatch):
    monkeypatch.setattr(data, "teacher", lambda *_: load_model("nano-sft"))
    found = data.who_writes(0, 0, steps=2, passes=1, n_test=4)
    curated, generated, filtered = untrained
    assert len(curated) == 2 * chapter.PER_STEP >= len(generated) >= len(curated) - 5 and len(filtered) >= len(curated) - 5
    assert {row["prompt"] for row in generated} <= {row["prompt"] for row in curated}
    assert {row["arm"]: row["right"] for row in found.rows}["curated"] == 1
    assert set(found.arms) == {"C8.filtered", "C8.unfiltered"}


def test_masking_changes_the_loss_and_nothing_else(monkeypatch):
    calls = []
    real = chapter.tune
    monkeypatch.setattr(data, "tune", lambda rows, *args, **kw: calls.append((rows, args, kw)) or real(rows, *args, **kw))
    found = data.masking(0, 0, steps=2, n_test=4, base=SMALL)
    assert [(args[3], args[4]) for _, args, _ in calls] == [
        (data.MASK_RATES[name][loss], masked) for name in ("short", "long") for loss, masked in (("answers only", True), ("all tokens", False))
    ]
    for (rows, (*settings, _, _), _), (others, (*same, _, _), _) in zip(calls[::2], calls[1::2], strict=True):
        assert rows == others and settings == same
    assert set(found.arms["C9.short"]) == {"answers only", "all tokens"} == set(found.arms["C9.long"])
    assert {row["kind"] for row in calls[0][0]} == set(data.PROMPTS["short"]) and {row["kind"] for row in calls[2][0]} == set(data.PROMPTS["long"])


# Conversations -----------------------------------------------------------------------------------------------------------------


def test_a_conversation_is_cut_into_its_exchanges():
    messages = [{"role": role, "content": str(i)} for i, role in enumerate(("user", "assistant") * 3)]
    assert [[m["content"] for m in pair] for pair in talk.exchanges(messages)] == [["0", "1"], ["2", "3"], ["4", "5"]]


def test_every_conversation_fits_into_a_row():
    rows = talk.dialogues(400, "train", 3)
    assert prepare(load_tokenizer(), [row["messages"] for row in rows], talk.LENGTH).cut == 0


def test_arms_see_the_same_amount_and_differ_in_what_their_question_needs(monkeypatch):
    given = {}

    def teach(start, tokenizer, conversations, *_, **__):
        given[len(given)] = conversations
        raise StopIteration

    monkeypatch.setattr(talk, "teach", teach)
    for arm in talk.ARMS:
        with pytest.raises(StopIteration):
            talk.converse.__wrapped__(arm, 0, 1000, steps=10)
    multi, control, single = given.values()
    assert len(multi) == len(control) and all(len(messages) == 2 for messages in single)
    assert [message for messages in single for message in messages] == [m for messages in multi for m in messages[: len(messages) // 2 * 2]]


def test_a_right_answer_counts_at_its_distance(monkeypatch):
    def reply(model, tokenizer, prompts, tokens):
        return [f"It is {model.get(str(prompt), 'nothing')}." for prompt in prompts]

    rows = talk.questions("test", 1000, each=3)
    assert [row["distance"] for row in rows] == [d for d in range(1, 9) for _ in range(3)]
    near = {str(row["messages"][: row["question_turn"] + 1]): row["answer"] for row in rows if row["distance"] < 6}
    monkeypatch.setattr(sft, "reply", reply)
    assert sft.remembers(near, None, rows) == [row["distance"] < 6 for row in rows]
    assert all(correct(row, f"It is {row['answer']}.") for row in rows)


# The shipped assistant ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", recipe.RECIPES)
def test_an_assistant_does_what_its_card_says(name):
    model, tokenizer, directory = load_model(name), load_tokenizer(name), CHECKPOINTS / name
    recorded = json.loads((directory / "report.json").read_text())["measured"]
    assert set(recorded) == set(recipe.EXAMS[name])
    for key, (_, exam) in recipe.EXAMS[name].items():
        assert exam(model, tokenizer, 150, 2026) == pytest.approx(fmean(recorded[key]), abs=0.1), key
    assert (directory / "README.md").read_text() == recipe.card(directory)


def test_what_an_assistant_was_not_trained_for_it_does_not_do(assistant):
    """So that the measures of the other one's card say something about its training."""
    assert recipe.TALK["remembered"][1](*assistant, 100, 2026) < 0.2
    assert recipe.TALK["valued"][1](*assistant, 100, 2026) < 0.5


@pytest.mark.parametrize("name", recipe.RECIPES)
def test_an_assistant_can_be_built_again_and_a_finished_build_is_kept(name, tmp_path):
    said = []
    built = recipe.build(name, tmp_path, scale=0.001, say=said.append)
    made = json.loads((built / "recipe.json").read_text())
    shipped = json.loads((CHECKPOINTS / name / "recipe.json").read_text())
    assert {key: made[key] for key in ("base", "data", "data_seed", "masked", "longest", "world_hash")} == {
        key: shipped[key] for key in ("base", "data", "data_seed", "masked", "longest", "world_hash")
    }
    before = (built / "model.safetensors").stat().st_mtime_ns
    assert recipe.build(name, tmp_path, scale=0.001, say=said.append) == built and "is finished" in said[-1]
    assert (built / "model.safetensors").stat().st_mtime_ns == before
