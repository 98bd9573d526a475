"""The experiments on in-context learning: documents become questions unchanged, every arm is what it says, and all see the same texts."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from finetunelab import incontext, worlds
from finetunelab.evidence.store import load_rows
from finetunelab.experiments import Measurement, find, seed_of_data
from finetunelab.experiments import in_context as chapter
from finetunelab.incontext import FewShot, Layout
from finetunelab.models import load_model, load_tokenizer
from finetunelab.skills import fewshot
from finetunelab.worlds.patterns import CONCEPTS, LABEL_WORDS, TRAITS, UNSEEN_CONCEPTS, UNSEEN_DOMAIN

SMALL = "nano-small"


def arms_of(experiment: str, found: Measurement) -> bool:
    """Tell whether every arm that a claim sets beside another was measured."""
    claims = [claim for claim in find([experiment])[0].claims if claim.id in found.arms]
    assert {claim.id for claim in claims} == set(found.arms)
    return all({claim.treatment, claim.control, claim.trials} - {None} <= set(found.arms[claim.id]) for claim in claims)


# Questions ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("knobs", [{}, {"unseen": True}, {"legend": True}, {"labels": "meaningful"}, {"unseen": True, "shuffled": True}])
def test_a_document_becomes_a_question_with_the_same_prompt(knobs):
    for k in (0, 1, 2, 8):
        rows = worlds.generator("patterns").rows(30, "test", 1_000, k=k, **knobs)
        for row, question in zip(rows, chapter.patterns(30, 1_000, k, **knobs), strict=True):
            assert question.prompt == row["prompt"] and len(question.demonstrations) == k
            assert question.answer == row["answer"] and set(question.labels) == {row["answer"], row["other"]}
            assert {label for _, label in question.demonstrations} <= set(question.labels)
            assert bool(question.layout.instruction) == ("legend" in knobs)


def test_the_place_of_a_label_among_the_labels_says_nothing_of_the_answer():
    places = Counter(question.labels.index(question.answer) for question in chapter.patterns(300, 1_000, 2))
    assert min(places.values()) > 110


def test_what_all_lines_share_is_their_format():
    question = next(q for q in chapter.patterns(50, 1_000, 8, unseen=True) if q.layout.before.startswith("Input: "))
    assert question.layout.between.endswith(" Output:") and question.query in question.prompt.split("\n")[-1]
    empty = replace(question, query="").prompt.split("\n")[-1]
    assert empty == f"{question.layout.before}{question.layout.between}"


def test_the_share_of_right_answers_is_the_one_that_the_model_card_measures():
    model, tokenizer = load_model(SMALL), load_tokenizer(SMALL)
    questions = chapter.patterns(60, 1_000, 8)
    assert incontext.accuracy(questions, incontext.predict(model, tokenizer, questions)) == fewshot(model, tokenizer, 1_000, 8, 60) > 0.6


@pytest.mark.parametrize("task", chapter.NATURAL)
def test_a_question_about_a_whole_text_has_both_classes_and_words_of_its_own(task):
    world, label = chapter.NATURAL[task]
    truth = {row["text"]: row[label] for split in ("train", "test") for row in worlds.generator(world).rows(chapter.POOL, split, 1_000)}
    questions = chapter.natural(task, 80, 1_000, 4)
    for question in questions:
        classes = {truth[text]: word for text, word in [*question.demonstrations, (question.query, question.answer)]}
        assert len(classes) == 2 == len(set(classes.values())) and set(classes.values()) == set(question.labels) <= set(LABEL_WORDS)
        assert question.query not in [text for text, _ in question.demonstrations] and len(question.demonstrations) == 4
    assert len({question.labels for question in questions}) > 70
    assert 20 < sum(question.labels.index(question.answer) for question in questions) < 60
    assert all(not question.demonstrations for question in chapter.natural(task, 5, 1_000, 0))


# E1 -------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch):
    """What the model is asked while a test runs; it answers with the first label word, or writes the right one."""
    seen = []

    def answer(model, tokenizer, questions, **how):
        seen.append((questions, how))
        return [question.labels[0] for question in questions]

    monkeypatch.setattr(chapter, "predict", answer)
    monkeypatch.setattr(chapter, "write_labels", lambda model, tokenizer, questions: [question.answer for question in questions])
    return seen


def test_every_cell_of_the_grid_asks_what_it_says(asked):
    found = chapter.examples_teach(2, 0, n=12, base=SMALL)
    assert arms_of("E1", found)
    cells = {(row["task"], row["labels"], row["k"]) for row in found.rows if "accuracy" in row}
    grid = {(kind, wording, k) for kind in chapter.KINDS for wording, (_, amounts) in chapter.WORDINGS.items() for k in amounts}
    grid |= {(kind, extra, 8) for kind in chapter.KINDS for extra in ("calibrated", "written")}
    assert cells == grid | {(task, "arbitrary", k) for task in chapter.NATURAL for k in chapter.NATURAL_SHOTS}
    # The first label word is right as often as the answer is the first.
    for kind, knobs in chapter.KINDS.items():
        for wording, (told, amounts) in chapter.WORDINGS.items():
            for k in amounts:
                questions = chapter.patterns(12, seed_of_data(2, 0), k, **knobs, **told)
                right = incontext.accuracy(questions, [question.labels[0] for question in questions])
                assert {"task": kind, "labels": wording, "k": k, "accuracy": right} in found.rows
                assert questions in [seen for seen, _ in asked]
        plain = chapter.patterns(12, seed_of_data(2, 0), 8, **knobs)
        assert (plain, {"calibrated": True}) in asked
        orders = [[question.reordered(order) for question in plain] for order in range(chapter.ORDERS)]
        assert all((other, {}) in asked for other in orders) and plain not in orders
    scores = {(row["task"], row["labels"], row["k"]): row["accuracy"] for row in found.rows if "accuracy" in row}
    assert all(scores[kind, "written", 8] == 1 for kind in chapter.KINDS)
    assert found.arms["E1"] == {"8 demonstrations": scores["unseen", "arbitrary", 8], "0 demonstrations": scores["unseen", "arbitrary", 0]}
    assert found.arms["E1.seen"] == {"8 demonstrations": scores["seen", "arbitrary", 8], "0 demonstrations": scores["seen", "arbitrary", 0]}
    assert found.arms["E1.instruction"]["with it"] == scores["unseen", "instruction", 8]
    assert found.arms["E1.shuffled"]["random"] == scores["seen", "shuffled", 8]
    assert found.arms["E1.posts"]["4 demonstrations"] == scores["posts", "arbitrary", 4]


def test_unseen_means_a_concept_and_a_wording_that_no_pattern_of_pretraining_has():
    rows = worlds.generator("patterns").rows(40, "test", 1_000, k=8, **chapter.KINDS["unseen"])
    assert {row["concept"] for row in rows} == set(UNSEEN_CONCEPTS) and {row["domain"] for row in rows} == {UNSEEN_DOMAIN}
    default = worlds.generator("patterns").rows(400, "train", 0)
    assert not {row["concept"] for row in default} & set(UNSEEN_CONCEPTS) and UNSEEN_DOMAIN not in {row["domain"] for row in default}


def test_answers_that_follow_the_order_are_counted(monkeypatch):
    """A model that repeats the last label changes its mind where the last demonstration has another one."""
    monkeypatch.setattr(chapter, "predict", lambda model, tokenizer, questions, **how: [
        question.demonstrations[-1][1] if question.demonstrations else question.labels[0] for question in questions
    ])
    monkeypatch.setattr(chapter, "write_labels", lambda model, tokenizer, questions: ["" for _ in questions])
    found = chapter.examples_teach(0, 0, n=30, orders=2, base=SMALL, tasks=())
    expected = {}
    for kind, knobs in chapter.KINDS.items():
        questions = chapter.patterns(30, seed_of_data(0, 0), 8, **knobs)
        changes = [q.demonstrations[-1][1] != q.reordered(order).demonstrations[-1][1] for order in range(2) for q in questions]
        expected[kind] = sum(changes) / len(changes)
    assert found.arms["E1.order"] == pytest.approx(expected) and 0.2 < expected["unseen"] < 0.8


def test_a_weight_that_changes_fails_the_run(monkeypatch, asked):
    answer = chapter.predict

    def spoil(model, tokenizer, questions, **how):
        next(model.parameters()).data[0, 0] += 1e-3
        return answer(model, tokenizer, questions, **how)

    monkeypatch.setattr(chapter, "predict", spoil)
    with pytest.raises(RuntimeError, match="weights have changed"):
        chapter.examples_teach(0, 0, n=2, base=SMALL, tasks=())


# E2 -------------------------------------------------------------------------------------------------------------------------------


def test_texts_of_endpoint_and_process_are_compared_one_by_one(monkeypatch):
    sent = []

    class There:
        def complete(self, prompts, *, tokens, stop):
            sent.append((list(prompts), tokens, stop))
            return ["same" if i % 4 else "other" for i, _ in enumerate(prompts)]

    here = []

    def write(model, tokenizer, prompts, *, tokens, stop):
        here.append((list(prompts), tokens, stop))
        return ["same"] * len(prompts)

    @contextlib.contextmanager
    def serve(base):
        assert base == SMALL
        yield There()

    monkeypatch.setattr(chapter, "serve", serve)
    monkeypatch.setattr(chapter, "generate", write)
    found = chapter.through_an_endpoint(1, 0, n=64, base=SMALL)
    assert arms_of("E2", found) and found.arms == {"E2": {"same": 48, "asked": 64}}
    assert here == sent and len({prompt for prompts, *_ in sent for prompt in prompts}) == 64
    assert [(row["task"], row["k"], row["asked"], row["same"]) for row in found.rows] == [
        (kind, k, 16, 12) for kind in ("unseen", "seen") for k in (0, 8)
    ]


@pytest.mark.slow
def test_a_real_server_writes_the_same_texts():
    found = chapter.through_an_endpoint(0, 0, n=16, base=SMALL)
    assert found.arms["E2"]["asked"] == 16 and found.arms["E2"]["same"] >= 15
    assert all(abs(row["endpoint"] - row["in process"]) <= 0.25 for row in found.rows)


# E3 -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", chapter.KINDS)
def test_sentences_of_one_concept_are_labelled_rightly_and_no_test_sentence_is_trained_on(kind):
    (texts, sides), (unseen, truth) = chapter.sentences(kind, 40, 60, 1_003)
    assert (len(texts), len(unseen)) == (40, 60) and len({*texts, *unseen}) == 100
    assert set(sides[:2]) == {0, 1} and 10 < sum(sides) < 30 and 15 < sum(truth) < 45
    assert chapter.sentences(kind, 40, 60, 1_003) == ((texts, sides), (unseen, truth))
    assert chapter.sentences(kind, 40, 60, 1_003, "validation")[1] != (unseen, truth)
    concepts = UNSEEN_CONCEPTS if kind == "unseen" else {name: c for name, c in CONCEPTS.items() if name not in TRAITS}
    told = {}
    for name in {*concepts} if kind == "unseen" else ():
        for split in ("train", "test"):
            for row in worlds.generator("patterns").rows(60, split, 1_003, k=8, concept=name, unseen=True, labels="meaningful"):
                told |= {text: (name, label) for text, label in chapter.few_shot(row).demonstrations}
    found = {(told[text][0], side, told[text][1]) for text, side in zip([*texts, *unseen], [*sides, *truth], strict=True)} if told else ()
    for name, side, label in found:
        assert concepts[name][side] == label
    assert len({name for name, *_ in found}) == bool(told)


def test_demonstrations_are_the_first_labelled_texts_and_no_more_than_are_worth_it(asked):
    train = ([f"text {i}" for i in range(40)], [i % 2 for i in range(40)])
    score = chapter.shown_score(train, (["a", "b"], [0, 1]), ["dax", "lilac"], SMALL, most=5)
    ((questions, _),) = asked
    shown = tuple((f"text {i}", ("dax", "lilac")[i % 2]) for i in range(5))
    assert questions == [FewShot("a", shown, ("dax", "lilac"), "dax", Layout()), FewShot("b", shown, ("dax", "lilac"), "lilac", Layout())]
    assert score == 0.5


TRAIN = (["He cast his line.", "She tuned the harp."] * 8, [0, 1] * 8)


@pytest.mark.parametrize("arm", chapter.ARMS)
def test_every_fine_tuned_arm_learns_its_labels_and_trains_what_it_says(arm, monkeypatch):
    trained = []
    for name in ("fit", "teach"):
        def look(model, *rest, real=getattr(chapter, name), name=name):
            result = real(model, *rest)
            trained.append((name, {key for key, value in model.named_parameters() if value.requires_grad}, rest[-1]))
            return result

        monkeypatch.setattr(chapter, name, look)
    assert chapter.trained_score(arm, TRAIN, (TRAIN[0][:2], TRAIN[1][:2]), ["dax", "lilac"], 7, SMALL) == 1.0
    (how, names, settings), = trained
    assert how == ("teach" if arm == "label words" else "fit")
    assert settings.learning_rate == chapter.RATES[arm] and settings.seed == 7 and settings.steps == 40
    assert any("lora" in name for name in names) == (arm == "LoRA") and any("embed_tokens" in name for name in names) == (arm != "LoRA")
    assert ("head.weight" in names) == (arm != "label words")


def test_fine_tuning_draws_level_where_the_curves_meet():
    sizes, ours = (2, 8, 32, 128), (0.6, 0.8, 0.9, 0.9)
    assert str(chapter.overtakes(sizes, ours, (0.5, 0.6, 0.8, 0.95))) == "81"  # two thirds of the way from 32 to 128, in logarithms
    assert str(chapter.overtakes(sizes, ours, (0.6, 0.9, 0.95, 0.95))) == "<= 2"
    assert str(chapter.overtakes(sizes, ours, (0.5, 0.6, 0.7, 0.8))) == "> 128"


def test_every_arm_gets_the_same_labels_and_the_same_test(monkeypatch):
    shown, taught = [], []

    def show(train, test, words, base, most=chapter.MOST):
        shown.append((tuple(zip(*train, strict=True))[:most], test, words))
        return 0.75

    def teach(arm, train, test, words, seed, base):
        taught.append((arm, tuple(zip(*train, strict=True)), test, words, seed))
        return {"full": 0.5, "LoRA": 0.75, "label words": 0.7}[arm] + 0.1 * (len(train[0]) > 32)

    monkeypatch.setattr(chapter, "shown_score", show)
    monkeypatch.setattr(chapter, "trained_score", teach)
    sizes = (2, 8, 16, 32, 64)
    found = chapter.show_or_train(4, 0, sizes=sizes, n_test=20, base=SMALL)
    assert arms_of("E3", found)
    for i, kind in enumerate(chapter.KINDS):
        pool, test = chapter.sentences(kind, 64, 20, seed_of_data(4, 0))
        mine = taught[15 * i : 15 * i + 15]
        assert [(arm, len(train)) for arm, train, *_ in mine] == [(arm, n) for n in sizes for arm in chapter.ARMS]
        assert all(train == tuple(zip(*pool, strict=True))[: len(train)] and same == test and seed == 4 for _, train, same, _, seed in mine)
        # Beyond the most that are shown, nothing new is asked.
        used = sorted({min(n, chapter.MOST) for n in sizes})
        ours = [examples for examples, *_ in shown[len(used) * i : len(used) * (i + 1)]]
        assert ours == [tuple(zip(*pool, strict=True))[:n] for n in used]
        assert found.arms[f"E3.{kind}"]["full"] == 64 and found.arms[f"E3.{kind}"]["LoRA"] == 2
        assert 32 < found.arms[f"E3.{kind}"]["label words"] < 64
        assert found.arms[f"E3.few.{kind}"]["in context"] == 0.75 and found.arms[f"E3.few.{kind}"]["full"] == 0.5
        level = {row["arm"]: row["level at"] for row in found.rows if row["concept"] == kind and "level at" in row}
        assert level["full"] == "> 64" and level["LoRA"] == "<= 2"
    words = {tuple(words) for *_, words in shown} | {tuple(words) for _, _, _, words, _ in taught}
    assert len(words) == 1 and set(words.pop()) <= set(LABEL_WORDS)
    rows = {(row["concept"], row["labels"], row["arm"]) for row in found.rows if "accuracy" in row}
    assert len(rows) == 2 * 5 * 6 and {arm for *_, arm in rows} == {"in context", *chapter.ARMS, "TF-IDF", "majority class"}


def test_what_is_tuned_is_tuned_on_validation_texts_of_a_seed_that_is_not_reported(monkeypatch):
    drawn, scored = [], []
    sentences = chapter.sentences
    monkeypatch.setattr(chapter, "sentences", lambda *args: drawn.append(args) or sentences(*args))
    train_ = lambda arm, train, test, words, seed, base, rate: scored.append((arm, len(train[0]), rate)) or rate  # noqa: E731
    monkeypatch.setattr(chapter, "trained_score", train_)
    monkeypatch.setattr(chapter, "shown_score", lambda train, test, words, base, most: most / 100)
    rows = chapter.sweep_in_context(rates=(0.1, 0.2), amounts=(4, 8), sizes=(4, 16), n=10, base=SMALL)
    assert drawn == [(kind, 16, 10, chapter.SWEEP_SEED, "validation") for kind in chapter.KINDS] and chapter.SWEEP_SEED < 1_000
    assert Counter(scored) == Counter({(arm, size, rate): 2 for arm in chapter.ARMS for size in (4, 16) for rate in (0.1, 0.2)})
    assert [(row["arm"], row["rate"]) for row in rows[:6]] == [(arm, rate) for arm in chapter.ARMS for rate in (0.1, 0.2)]
    assert all(row["accuracy"] == pytest.approx(row["rate"]) for row in rows[:6])
    assert [(row["demonstrations"], row["accuracy"]) for row in rows[6:]] == [(4, 0.04), (8, 0.08)]


def test_what_is_tuned_is_the_best_of_the_sweep():
    rows = load_rows(Path(__file__).resolve().parents[1] / "book" / "evidence" / "E3-rates.csv")
    assert {int(row["seed"]) for row in rows} == {chapter.SWEEP_SEED} and chapter.SWEEP_SEED < 1_000
    for arm in chapter.ARMS:
        found = {float(row["rate"]): float(row["accuracy"]) for row in rows if row["arm"] == arm}
        assert tuple(found) == chapter.RATE_SWEEP and max(found, key=found.get) == chapter.RATES[arm]
    found = {int(row["demonstrations"]): float(row["accuracy"]) for row in rows if row["arm"] == "in context"}
    assert tuple(found) == chapter.MOST_SWEEP and max(found, key=found.get) == chapter.MOST
