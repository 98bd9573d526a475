"""Ways to classify are compared alike, in time, and what comes out is said as it is: noise is not recommended, a tie is called one."""

import random
import time
from collections import Counter

import numpy as np
import pytest
import torch

from finetunelab.adaptation import features_of_layers
from finetunelab.comparison import learned
from finetunelab.comparison.curves import first, learning_curves
from finetunelab.comparison.data_warnings import warnings_of
from finetunelab.comparison.methods import FULL, LORA, MAJORITY, PROMPTED, Base, Frozen, Majority, Prompted, Tuned, Words
from finetunelab.comparison.task import Part, Task, hold_out, plain
from finetunelab.comparison.tuning import Comparison, Fitted, LeftOut, Plan, Result, compare
from finetunelab.comparison.verdict import judge
from finetunelab.errors import UserError
from finetunelab.heads import Classifier

TRUTH = tuple(i % 2 for i in range(200))


def make_task(train=60, test=60, classes=("ham", "spam")):
    """Texts whose one telling word names the class; all different, as many of each class."""
    words = ("letter", "prize", "recipe", "garden")

    def part(n, start):
        labels = tuple(i % len(classes) for i in range(n))
        return Part(tuple(f"message {start + i} about a {words[label]} of number {start + i}" for i, label in enumerate(labels)), labels)

    whole = part(train, 0)
    held = set(hold_out(whole.texts, whole.labels, 0))
    sides = [Part(tuple(whole.texts[i] for i in side), tuple(whole.labels[i] for i in side)) for side in (
        [i for i in range(train) if i not in held], sorted(held))]
    return Task(tuple(classes), whole, *sides, part(test, 1_000))


def changed(task, train=None, test=None):
    return Task(task.classes, train or task.train, task.fit, task.validation, test or task.test)


# The validation part ------------------------------------------------------------------------------------------------------------


def test_held_out_texts_are_a_share_of_every_class_and_leave_no_copy_behind():
    labels = [0] * 200 + [1] * 40 + [2] * 5 + [3]
    texts = [(f"Text {i // 2} of class", f"TEXT  {i // 2} of class ")[i % 2] if i < 200 else f"rare {i}" for i in range(len(labels))]
    held = hold_out(texts, labels, 0)
    counts = Counter(labels[i] for i in held)
    assert counts[0] == pytest.approx(40, abs=2) and counts[1] == 8 and counts[2] == 1 and counts[3] == 0
    inside = {plain(texts[i]) for i in held}
    assert not inside & {plain(text) for i, text in enumerate(texts) if i not in set(held)}
    assert held == hold_out(texts, labels, 0) != hold_out(texts, labels, 1)


# Warnings -----------------------------------------------------------------------------------------------------------------------


def kinds(task):
    return [warning.split(":")[0] for warning in warnings_of(task)]


def test_sound_data_gives_no_warning():
    assert warnings_of(make_task(60, 120)) == []


def test_each_planted_fault_is_found_and_no_other():
    task = make_task(120, 120)
    train, test = task.train, task.test
    leak = changed(task, test=Part((train.texts[0].upper(), *test.texts[1:]), test.labels))
    assert kinds(leak) == ["Texts in both parts"] and "1 of 120" in warnings_of(leak)[0]
    copies = changed(task, train=Part((*train.texts, *[train.texts[0]] * 2), (*train.labels, *[train.labels[0]] * 2)))
    assert kinds(copies) == ["Duplicates"] and "2 of 122 rows of the training file" in warnings_of(copies)[0] and "3 times" in warnings_of(copies)[0]
    torn = changed(task, test=Part((*test.texts, test.texts[0]), (*test.labels, 1)))
    assert kinds(torn) == ["Conflicting labels", "Duplicates"] and "“ham” and “spam”" in warnings_of(torn)[0]
    few = changed(task, train=Part(train.texts[:30], train.labels[:30]))
    assert kinds(few) == ["Too few examples"] and "“ham” (15), “spam” (15)" in warnings_of(few)[0]
    skewed = changed(task, train=Part(tuple(f"text {i}" for i in range(140)), (0,) * 120 + (1,) * 20))
    assert kinds(skewed) == ["Class imbalance"] and "120" in warnings_of(skewed)[0]
    assert kinds(changed(task, test=Part(test.texts[:60], test.labels[:60]))) == ["A small test"]


# Comparing ----------------------------------------------------------------------------------------------------------------------


class Fake:
    """A method that is right about so large a share of the texts, a little better with each setting, and records what it was asked."""

    def __init__(self, name, share, needs_time=True, seconds=0.0, settings=3, fails=None):
        self.has_curve = True
        self.name, self.share, self.needs_time, self.seconds, self.fails = name, share, needs_time, seconds, fails
        self.settings, self.given, self.learned = [{"x": i} for i in range(settings)], [], []

    def plan(self, task, seconds):
        self.given.append(seconds)
        if isinstance(self.fails, LeftOut):
            raise self.fails
        return Plan(self.settings)

    def fit(self, task, part, setting):
        if self.fails:
            raise self.fails
        time.sleep(self.seconds)
        self.learned.append((setting["x"], part))
        truth = dict(zip((*task.train.texts, *task.test.texts), (*task.train.labels, *task.test.labels), strict=True))
        right = self.share + 0.1 * setting["x"]
        return Fitted(lambda texts: [truth[text] if i < right * len(texts) else 1 - truth[text] for i, text in enumerate(texts)], self.seconds)


def run(*methods, seconds=60.0, task=None):
    return compare(task or make_task(), methods, seconds, lambda line: None)


def test_settings_are_chosen_on_validation_texts_and_the_best_learns_anew_from_all():
    task, fake = make_task(), Fake("one", 0.5)
    found = run(fake, task=task).results[0]
    assert fake.learned == [(0, task.fit), (1, task.fit), (2, task.fit), (2, task.train)]
    assert found.setting == {"x": 2} and len(found.tried) == 3 and found.accuracy.estimate == pytest.approx(0.7, abs=0.02)


def test_the_time_is_divided_and_what_is_left_goes_on():
    methods = [Fake("free", 0.5, needs_time=False), Fake("a", 0.5), Fake("b", 0.5), Fake("c", 0.5)]
    run(*methods, seconds=40.0)
    assert [round(method.given[0]) for method in methods[1:]] == [10, 13, 20]


def test_a_slow_method_tries_fewer_settings_and_says_so():
    found = run(Fake("slow", 0.5, seconds=0.2), Fake("quick", 0.5), seconds=1.2)
    assert "only 2 of 3 settings" in found.results[0].notes[0] or "only 1 of 3 settings" in found.results[0].notes[0]
    assert not found.results[1].notes and len(found.results[1].tried) == 3


def test_what_does_not_fit_or_fails_is_missing_with_its_reason_and_the_rest_goes_on():
    found = run(
        Fake("a", 0.5, fails=LeftOut("it would take 90 s")), Fake("b", 0.5, fails=UserError("no room", "make some")),
        Fake("c", 0.5, fails=torch.OutOfMemoryError()), Fake("d", 0.5))
    assert list(found.missing) == ["a", "b", "c"] and "90 s" in found.missing["a"] and "make some" in found.missing["b"] and "memory" in found.missing["c"]
    assert [result.name for result in found.results] == ["d"] and not found.stopped


def test_an_interrupt_keeps_what_is_finished():
    last = Fake("c", 0.5)
    found = run(Fake("a", 0.5), Fake("b", 0.5, fails=KeyboardInterrupt()), last)
    assert found.stopped and [result.name for result in found.results] == ["a"] and list(found.missing) == ["b", "c"] and not last.given


# Learning curves ----------------------------------------------------------------------------------------------------------------


def test_fewer_texts_are_among_the_more_and_have_every_class_at_its_share():
    part = Part(tuple(f"text {i}" for i in range(100)), (0,) * 80 + (1,) * 20)
    some, more = first(part, 20, 0), first(part, 40, 0)
    assert set(some.texts) < set(more.texts) and Counter(some.labels) == {0: 16, 1: 4} and Counter(more.labels) == {0: 32, 1: 8}
    assert first(part, 20, 1) != some == first(part, 20, 0)


def test_curves_show_what_more_texts_bring_and_end_at_the_result():
    task = make_task(160, 60)
    found = run(Majority(), Words(), task=task)
    curves = learning_curves(task, [Majority(), Words()], found, 60.0, 0, lambda line: None)
    assert list(curves.points) == [Words.name] and not curves.missing
    assert [n for n, _ in curves.points[Words.name]] == [20, 40, 80, 160] and curves.points[Words.name][-1][1] == found.results[1].accuracy.estimate
    fake = Fake("one", 0.6)
    learning_curves(task, [fake], run(fake, task=task), 60.0, 0, lambda line: None)
    assert [(x, len(part)) for x, part in fake.learned[4:]] == [(2, 20), (2, 40), (2, 80)]  # with the setting that was chosen


def test_curves_stop_where_the_time_or_the_user_does():
    task, dear, cheap = make_task(160, 60), Fake("dear", 0.6, seconds=0.1), Fake("cheap", 0.6)
    found = run(dear, cheap, task=task)
    curves = learning_curves(task, [dear, cheap], found, 0.2, 0, lambda line: None)
    assert curves.missing == ["dear"] and list(curves.points) == ["cheap"]
    dear.fails = KeyboardInterrupt()
    curves = learning_curves(task, [cheap, dear], found, 60.0, 0, lambda line: None)
    assert found.stopped and curves.missing == ["dear"] and list(curves.points) == ["cheap"]


# The recommendation -------------------------------------------------------------------------------------------------------------


def result(name, share, cost, seed=0, truth=TRUTH):
    """A method with so large a share of right answers, at places drawn by chance."""
    right = set(random.Random(f"{name}{seed}").sample(range(len(truth)), round(share * len(truth))))
    answers = tuple(label if i in right else 1 - label for i, label in enumerate(truth))
    return Result(name, {}, (), answers, truth, cost, 0.0)


def verdict(*results, task=None, model="elsewhere", missing=()):
    return judge(Comparison(list(results), dict.fromkeys(missing, "no time")), task or make_task(), model)


def test_a_clear_winner_is_recommended_whatever_it_costs():
    found = verdict(result(MAJORITY, 0.5, 0), result("cheap", 0.7, 1), result("dear", 0.95, 1_000))
    assert found.recommended.name == "dear" and not found.tied and "dear" in found.headline
    assert any("Clearly behind" in line and "cheap" in line for line in found.reasons)


def test_a_tie_is_called_a_tie_and_the_cheaper_is_recommended():
    found = verdict(result(MAJORITY, 0.5, 0), result("cheap", 0.90, 1), result("dear", 0.92, 1_000))
    assert found.best.name == "dear" and found.recommended.name == "cheap" and [tied.name for tied in found.tied] == ["cheap"]
    assert any("tie" in line and "Dear" in line and "cheaper" in line for line in found.reasons)
    assert any("not that there is none" in line for line in found.doubts)


def test_among_methods_that_cost_the_same_the_timing_does_not_decide():
    found = verdict(result(MAJORITY, 0.5, 0), result("a", 0.90, 10), result("b", 0.92, 11))
    assert found.recommended.name == "b" and any("none of them is clearly cheaper" in line for line in found.reasons)


def test_noise_is_not_recommended():
    taken = 0
    for seed in range(100):
        rng = random.Random(seed)
        guesses = [result(name, sum(rng.random() < 0.5 for _ in TRUTH) / len(TRUTH), cost, seed) for cost, name in enumerate("abcde", 1)]
        taken += verdict(result(MAJORITY, 0.5, 0, seed), *guesses).recommended is not None
    assert taken <= 8
    found = verdict(result(MAJORITY, 0.5, 0), result("a", 0.53, 1))
    assert found.recommended is None and "none" in found.headline and "“ham”" in found.reasons[0]


def test_a_cheap_tie_that_is_no_better_than_the_majority_is_not_recommended():
    # On 40 texts "weak" cannot be told from the best, nor from the majority class.
    truth = tuple(i % 2 for i in range(40))

    def answers(name, wrong, cost):
        return Result(name, {}, (), tuple(1 - label if i in wrong else label for i, label in enumerate(truth)), truth, cost, 0.0)

    found = verdict(answers(MAJORITY, range(20), 0), answers("weak", range(6, 21), 1), answers("good", range(9), 100))
    assert [tied.name for tied in found.tied] == ["weak"] and found.recommended.name == "good"


def test_doubts_name_what_is_missing_what_was_cut_and_the_weakest_class():
    truth = (0,) * 180 + (1,) * 20
    blind = Result("blind", {}, (({}, 0.99),), (0,) * 170 + (1,) * 10 + (0,) * 12 + (1,) * 8, truth, 1.0, 0.0, None, ("half the steps",))
    task = make_task()
    found = verdict(Result(MAJORITY, {}, (), (1,) * 200, truth, 0, 0), blind, task=task, model="nano", missing=[LORA])
    text = " ".join(found.doubts)
    assert f"Not compared, for reasons in the table: {LORA}" in text and "Cut short" in text and "invented town" in text
    assert "“spam” worst: 8 of 20" in text
    plainly = " ".join(verdict(result(MAJORITY, 0.5, 0), result("good", 0.9, 1)).doubts)
    assert not any(words in plainly for words in ("Not compared", "Cut short", "invented town", "worst"))


# The methods --------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tiny_causal):
    return Base(tiny_causal)


def test_words_learn_what_the_majority_class_cannot():
    task = make_task()
    found = compare(task, [Majority(), Words()], 60.0, lambda line: None)
    assert found.results[0].accuracy.estimate == 0.5 and found.results[1].accuracy.estimate == 1 and len(found.results[1].tried) == 3


def test_every_method_of_the_model_tries_as_many_settings_and_learns(base):
    task = make_task(100, 80)
    found = compare(task, [Frozen(base, 0), Prompted(base, 0), Tuned(LORA, base, 0), Tuned(FULL, base, 0)], 600.0, lambda line: None)
    assert not found.missing
    of = {method.name: method for method in found.results}
    assert all(len(method.tried) == 3 for method in found.results if method.name != PROMPTED)
    assert of[PROMPTED].learning_seconds == 0 and of[FULL].learning_seconds > 0 and of[FULL].peak_bytes > 0 and of[LORA].peak_bytes > 0
    # With random weights the states tell the words apart all the same: what is trained on them beats chance.
    assert of["frozen features + head"].accuracy.low > 0.5
    assert all(method.setting["steps"] >= 20 for method in (of[LORA], of[FULL]))


def test_lora_trains_corrections_and_full_fine_tuning_all(base, monkeypatch):
    trained = {}

    def fit(classifier, *args):
        trained[len(trained)] = [name for name, parameter in classifier.named_parameters() if parameter.requires_grad]
        raise LeftOut("seen enough")

    monkeypatch.setattr("finetunelab.comparison.methods.fit", fit)
    task = make_task(40, 20)
    for name in (LORA, FULL):
        with pytest.raises(LeftOut):
            Tuned(name, base, 0).plan(task, 10.0)
    assert all("lora" in name or name.startswith("head") for name in trained[0]) and any("lora" in name for name in trained[0])
    assert len(trained[1]) == len(list(Classifier(base.model, 2).named_parameters()))


def test_methods_that_do_not_fit_say_how_long_they_would_take(base):
    task = make_task(40, 20)
    for method in (Frozen(base, 0), Prompted(base, 0), Tuned(FULL, base, 0)):
        with pytest.raises(LeftOut, match="would take about"):
            method.plan(task, 1e-4)


def test_a_head_reads_the_layer_that_its_setting_names(base):
    task, method = make_task(40, 20), Frozen(base, 0)
    method.layers = [0, 1]
    texts = list(task.test.texts)
    expected = features_of_layers(base.model, base.tokenizer, texts, [0, 1], base.longest)
    for layer in (0, 1):
        assert np.allclose(method._vectors(texts[::-1], layer), expected[layer][::-1], atol=1e-5)


def test_steps_are_as_many_as_the_time_holds_and_the_same_for_all_settings(base, monkeypatch):
    task, method = make_task(400, 100), Tuned(FULL, base, 0)
    monkeypatch.setattr(Tuned, "_speed", lambda self, task, rate: (0.1, 1.0, 0.01))
    plan = method.plan(task, 30.0)
    steps, answered = {setting["steps"] for setting in plan.settings}, 3 * len(task.validation) + len(task.test)
    assert len(steps) == 1 and len(plan.settings) == 3 and "the time was enough for" in plan.notes[0]
    spent = 4 * (1.0 + 0.1 * min(steps)) + 0.01 * answered
    assert 30 - 4 * 0.1 < spent <= 30
    whole = method.plan(task, 10_000.0)
    assert whole.settings[0]["steps"] == 10 * 400 / 16 and not whole.notes


def test_training_learns_what_tells_the_classes_apart(base):
    task = make_task(100, 80)
    for name in (LORA, FULL):
        fitted = Tuned(name, base, 0).fit(task, task.train, {"learning rate": 1e-2, "steps": 60})
        right = sum(answer == label for answer, label in zip(fitted.predict(task.test.texts), task.test.labels, strict=True))
        assert right > 56, name  # 80 tosses of a coin give more once in ten thousand times


def test_a_prompt_shows_labeled_texts_and_its_answer_is_the_class_that_was_named(base, monkeypatch):
    task, asked = make_task(40, 20), []

    def answer(model, tokenizer, questions, **options):
        asked.extend(questions)
        said = []
        for question in questions:
            telling = next(word for word in ("letter", "prize") if word in question.query)
            said.append(next(label for text, label in question.demonstrations if telling in text))
        return said

    monkeypatch.setattr("finetunelab.comparison.learned.answer", answer)
    fitted = Prompted(base, 0).fit(task, task.train, {"demonstrations": 4})
    assert fitted.predict(task.test.texts) == list(task.test.labels)
    assert all(len(question.demonstrations) == 4 and question.labels == ("ham", "spam") for question in asked)


def test_where_time_is_short_fewer_numbers_of_demonstrations_are_tried(base, monkeypatch):
    task, method = make_task(100, 100), Prompted(base, 0)
    method.room = 1_024
    monkeypatch.setattr(Prompted, "_seconds", lambda self, task, k: 0.05 * k)
    shots = [setting["demonstrations"] for setting in method.plan(task, 600.0).settings]
    assert shots == [2, 4, 8]
    plan = method.plan(task, 0.05 * shots[0] * 101)
    assert [setting["demonstrations"] for setting in plan.settings] == shots[:1] and "no time to try" in plan.notes[0]


def test_long_texts_are_cut_to_fit_the_prompt_and_it_is_said(base):
    task = make_task(40, 20)
    long = changed(task, test=Part(tuple(text + " and so on\n" * 200 for text in task.test.texts), task.test.labels))
    method = Prompted(base, 0)
    assert any("were cut" in note for note in method.plan(long, 600.0).notes)
    answers = method.fit(long, long.train, {"demonstrations": 2}).predict(long.test.texts[:3])
    assert set(answers) <= {0, 1}


def test_a_batch_of_prompts_takes_no_more_room_than_its_scores_may(base, monkeypatch):
    task, scores = make_task(40, 20), []
    texts = [text + " and so on" * n for n, text in enumerate(task.test.texts)]
    room = 8 * 60 * base.model.config.vocab_size
    monkeypatch.setattr(learned, "ROOM_FOR_SCORES", room)
    hook = base.model.register_forward_hook(lambda layer, args, found: scores.append(found.logits.numel()))
    try:
        shown = learned.Shown(base, task.classes, list(zip(task.train.texts[:2], ("ham", "spam"), strict=True)), 45)
        answers = shown(texts)
    finally:
        hook.remove()
    assert len(answers) == 20 and 0 < max(scores) <= room
    assert 1 < len(scores) < 10, "several prompts a batch, and not all in one"
