"""Chapter 6, tasks, behavior, and style: what each method of the book makes of them, in one currency.

A ``Case`` is one instance of a need. Its arms are the methods that apply; each takes a setting and returns an ``Outcome``. Within a need all
start from the same shipped model and are given the same examples: labeled texts, instructions with responses, comparisons. "In the prompt" shows
some of them.
Settings (learning rates, a head's penalty, how many examples are shown) are the best of three for every method, on validation data of a data
seed below 1,000; ``choosing.sweep_needs`` measures what ``book/evidence/F1-settings.csv`` holds.

Costs are the FLOPs that tokens need (``methods.Flops``). Training takes three passes' worth; LoRA saves the gradients of the weights, so two.
Facts are in the module ``needs_facts``.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from ..adaptation import features
from ..choosing import AS_IS, BEHAVIOR, BEST_OF_N, CLASSIFY, DPO, FROZEN, FULL, LORA, PROMPT, STYLE, WORDS, Outcome
from ..cost import Cost
from ..dpo import candidate_scores, candidates
from ..dpo import fit as fit_pairs
from ..heads import LONGEST, Classifier, accuracy, fit
from ..incontext import FewShot, demonstrate, predict
from ..incontext import accuracy as share_right
from ..lora import add_lora
from ..models import load_model, load_tokenizer
from ..preferences.panel import preferences
from ..repurposing import HeadConfig, fit_head, with_lora
from ..sft import Conversation, fine_tune, reply
from ..worlds.baseline import Labelled, labelled, tfidf
from ..worlds.instructions import follows
from ..worlds.reviews import TOPICS
from . import reviewers
from .adaptation import BATCH, config, steps_for
from .alignment import POLICY, TOKENS, asked, rewards_by, worth
from .behavior import LENGTH, PER_STEP, ROWS, instructions
from .in_context import questions_on, sentences
from .knowledge import ANSWER_TOKENS
from .methods import Flops, request_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Arm = Callable[[float], Outcome]
BASE = "nano"
N_TEST = {CLASSIFY: 400, BEHAVIOR: 200, STYLE: 160}
SPAM, OPINION = ("honest", "spam"), ("bad", "good")
TASKS: dict[str, tuple[str, str, Sequence[str]]] = {  # a world, what is asked of its texts, and the words for the classes
    "posts": ("posts", "spam", SPAM), "mail": ("mail", "spam", SPAM), "sentiment": ("reviews", "sentiment", OPINION),
    "topic": ("reviews", "topic", TOPICS),
}
CONCEPTS = {"seen concept": "seen", "unseen concept": "unseen"}  # of sentences, see ``in_context``
CANDIDATES = 16
PASSES, FEWEST_STEPS, MOST_STEPS = 6, 60, 300  # of fine-tuning on conversations
BETA = 0.1  # of DPO


@dataclass(frozen=True)
class Case:
    """One instance of a need: its name, and how many examples there are."""

    need: str
    name: str
    examples: int


# Costs --------------------------------------------------------------------------------------------------------------------------


def passes_worth(lora: bool) -> int:
    """Return how many forward passes a step of training costs."""
    return 2 if lora else 3


def lengths(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[int]:
    """Return the number of tokens of each text, as far as a model reads."""
    return [min(len(ids), LONGEST) for ids in tokenizer(list(texts))["input_ids"]]


def reading(model: PreTrainedModel, tokens: Sequence[int], said: float = 0) -> float:
    """Return the mean FLOPs of reading texts of so many tokens, with ``said`` log-probabilities each."""
    ours = Flops.of(model)
    return fmean(ours.reading(n, said) for n in tokens)


# A task: classify ---------------------------------------------------------------------------------------------------------------


def labeled_texts(case: Case, n_test: int, data_seed: int, split: str) -> tuple[Labelled, Labelled, Sequence[str]]:
    """Draw the texts to learn from and those to judge by, and the words for the classes."""
    if case.name in CONCEPTS:
        return *sentences(CONCEPTS[case.name], case.examples, n_test, data_seed, split), ("one", "two")
    world, label, words = TASKS[case.name]
    return labelled(world, label, case.examples, "train", data_seed), labelled(world, label, n_test, split, data_seed), words


def tried(case: Case, data_seed: int, k: float, n: int = 32, base: str = BASE) -> float:
    """Return how a prompt does on the labeled texts themselves: the share of ``n`` of them answered rightly from ``k`` of the others.

    It is what somebody can try before anything is trained, without a test.
    """
    (texts, labels), _, words = labeled_texts(case, 1, data_seed, "validation")
    pairs, rng = list(zip(texts, labels, strict=True)), random.Random(f"tried/{data_seed}")
    questions = []
    for place in rng.sample(range(len(pairs)), min(n, len(pairs))):
        shown = demonstrate(pairs[:place] + pairs[place + 1 :], min(int(k), len(pairs) - 1), rng)
        questions += questions_on(([texts[place]], [labels[place]]), words, tuple(zip(*shown, strict=True)))
    return share_right(questions, predict(load_model(base), load_tokenizer(base), questions, batch_size=16))


def classify(case: Case, seed: int, data_seed: int, split: str = "test", n_test: int = N_TEST[CLASSIFY], base: str = BASE) -> dict[str, Arm]:
    """Tell classes of texts apart. The setting is the number of texts shown, TF-IDF's C, a head's penalty, or a learning rate."""
    train, test, words = labeled_texts(case, n_test, data_seed, split)
    tokenizer, model = load_tokenizer(base), load_model(base)
    rows, tests = lengths(tokenizer, train[0]), lengths(tokenizer, test[0])
    answer = reading(model, tests)

    def shown(k: float) -> Outcome:
        picked = demonstrate(list(zip(*train, strict=True)), min(int(k), case.examples), random.Random(f"shown/{data_seed}"))
        questions: list[FewShot] = questions_on(test, words, tuple(zip(*picked, strict=True)) if picked else ((), ()))
        found = predict(model, tokenizer, questions, batch_size=16 if picked else 64)
        # Read once; the words for the classes are a token or two each.
        cost = reading(model, [len(ids) for ids in tokenizer([question.prompt for question in questions])["input_ids"]], len(words))
        return Outcome(share_right(questions, found), len(test[0]), 0.0, cost)

    def counted(penalty: float) -> Outcome:
        if len(set(train[1])) < 2:
            return Outcome(tfidf(train)(test)[0], len(test[0]))
        return Outcome(tfidf(train, penalty)(test)[1], len(test[0]))

    def frozen(penalty: float) -> Outcome:
        head = fit_head(features(model, tokenizer, train[0]), train[1], len(words), HeadConfig(penalty=penalty, seed=seed)).head
        return Outcome(head.accuracy(features(model, tokenizer, test[0]), test[1]), len(test[0]), reading(model, rows) * len(rows), answer)

    def tuned(lora: bool) -> Arm:
        def arm(rate: float) -> Outcome:
            classifier, steps = Classifier(load_model(base), len(words), seed=seed), steps_for(case.examples)
            if lora:
                with_lora(classifier, seed=seed)
            cost = fit(classifier, tokenizer, *train, config(steps, rate, seed)).cost
            once = passes_worth(lora) * steps * min(BATCH, case.examples) * reading(model, rows)
            return Outcome(accuracy(classifier, tokenizer, *test), len(test[0]), once, answer, cost.peak_bytes)

        return arm

    return {AS_IS: lambda _: shown(0), PROMPT: shown, WORDS: counted, FROZEN: frozen, LORA: tuned(True), FULL: tuned(False)}


# Behavior: do as told -----------------------------------------------------------------------------------------------------------


def steps_on(examples: int) -> int:
    """Return the steps of fine-tuning on so many conversations: six passes, at least 60 steps and at most 300."""
    return min(MOST_STEPS, max(FEWEST_STEPS, PASSES * examples // PER_STEP))


def tune(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, talks: Sequence[Conversation], steps: int, rate: float, seed: int, lora: bool
) -> tuple[PreTrainedModel, float, Cost]:
    """Return a copy of a model fine-tuned on conversations, whole or by LoRA, which is merged; the FLOPs; and what else it cost."""
    tuned = copy.deepcopy(model)
    tuned.set_attn_implementation("eager")  # the same numbers, and for rows this short the quicker way to them
    if lora:
        tuned = add_lora(tuned, seed=seed)
    done = fine_tune(tuned, tokenizer, talks, config(steps, rate, seed, ROWS, "cosine"), longest=LENGTH)
    taught = [(len(row["input_ids"]), sum(label >= 0 for label in row["labels"])) for row in done.prepared.rows]
    once = passes_worth(lora) * steps * ROWS / done.rows * sum(Flops.of(model).reading(*counts) for counts in taught)
    return (tuned.merge_and_unload() if lora else tuned), once, done.result.cost


def behave(case: Case, seed: int, data_seed: int, split: str = "test", n_test: int = N_TEST[BEHAVIOR], base: str = POLICY) -> dict[str, Arm]:
    """Follow a kind of instruction, ``case.name``, that the assistant was never trained on.

    The setting is the number of examples shown, as earlier turns of the conversation, or a learning rate.
    """
    train, test = (instructions(n, part, data_seed, kind=case.name) for n, part in ((case.examples, "train"), (n_test, split)))
    talks, tokenizer, model = [row["messages"] for row in train], load_tokenizer(base), load_model(base)
    ours, said = Flops.of(model), fmean(len(tokenizer(row["messages"][-1]["content"])["input_ids"]) for row in test)

    def judged(found: PreTrainedModel, k: int = 0, once: float = 0.0, peak: int = 0) -> Outcome:
        rng = random.Random(f"shown/{data_seed}")
        put = [[*(turn for talk in rng.sample(talks, k) for turn in talk), row["messages"][0]] for row in test]
        right = [follows(row, text) for row, text in zip(test, reply(found, tokenizer, put, tokens=ANSWER_TOKENS), strict=True)]
        return Outcome(fmean(right), len(test), once, ours.sampling(request_tokens(tokenizer, put), said), peak)

    def tuned(lora: bool) -> Arm:
        def arm(rate: float) -> Outcome:
            found, once, cost = tune(model, tokenizer, talks, steps_on(case.examples), rate, seed, lora)
            return judged(found, 0, once, cost.peak_bytes)

        return arm

    return {AS_IS: lambda _: judged(model), PROMPT: lambda k: judged(model, int(k)), LORA: tuned(True), FULL: tuned(False)}


# Style: what people prefer ------------------------------------------------------------------------------------------------------


def please(case: Case, seed: int, data_seed: int, split: str = "test", n_test: int = N_TEST[STYLE], base: str = POLICY) -> dict[str, Arm]:
    """Answer as a panel likes it, having seen its clicks. The setting is the number of chosen responses shown, or a learning rate.

    The quality is the true worth of a sampled response. Best of n has the reward model that is learned from the clicks choose; its setting is
    that model's learning rate.
    """
    pairs = preferences(*reviewers.clicked(case.examples, data_seed))
    tokenizer, model, test = load_tokenizer(base), load_model(base), asked(n_test, split, data_seed)
    requests, ours = reviewers.requests(test), Flops.of(model)
    said = fmean(len(tokenizer(pair["chosen"][-1]["content"])["input_ids"]) for pair in pairs[:200])
    steps = max(30, round(case.examples / reviewers.BATCH))
    a_pair = 2 * ours.reading(request_tokens(tokenizer, requests) + said, said)

    def answering(found: PreTrainedModel, before: Sequence[Mapping[str, str]] = ()) -> tuple[float, float]:
        """Return the mean worth of responses, and the FLOPs of one; ``before`` are turns that stand before each request."""
        put = [[*before, *request] for request in requests]
        texts = [texts[0] for texts in candidates(found, tokenizer, put, 1, tokens=TOKENS, seed=data_seed)]
        return fmean(worth(test, texts)), ours.sampling(request_tokens(tokenizer, put), said)

    def as_it_is(_: float) -> Outcome:
        quality, asking = answering(model)
        return Outcome(quality, n_test, 0.0, asking)

    def shown(k: float) -> Outcome:
        before: list[Mapping[str, str]] = [turn for pair in pairs[: int(k)] for turn in (*pair["prompt"], *pair["chosen"])]
        quality, asking = answering(model, before)
        return Outcome(quality, n_test, 0.0, asking)

    def tuned(lora: bool) -> Arm:
        def arm(rate: float) -> Outcome:
            talks = [[*pair["prompt"], *pair["chosen"]] for pair in pairs]
            found, once, cost = tune(model, tokenizer, talks, steps, rate, seed, lora)
            quality, asking = answering(found)
            return Outcome(quality, n_test, once, asking, cost.peak_bytes)

        return arm

    def by_pairs(rate: float) -> Outcome:
        found = copy.deepcopy(model)
        cost = fit_pairs(found, tokenizer, pairs, config(steps, rate, seed, reviewers.BATCH, "cosine"), BETA).result.cost
        quality, asking = answering(found)
        return Outcome(quality, n_test, a_pair * (len(pairs) + 3 * steps * reviewers.BATCH), asking, cost.peak_bytes)

    def best_of(rate: float) -> Outcome:
        judge, cost = reviewers.rewarder(seed, data_seed, case.examples, base=reviewers.BASE, rate=rate)
        found = candidates(model, tokenizer, requests, CANDIDATES, tokens=TOKENS, seed=data_seed)
        scores = candidate_scores(rewards_by(judge, load_tokenizer(reviewers.BASE)), requests, found)
        texts = [tried[place] for tried, place in zip(found, scores.argmax(1), strict=True)]
        length = request_tokens(tokenizer, requests)
        each = ours.sampling(length, said) + ours.reading(length + said)
        learned = reviewers.BATCH * cost.steps
        return Outcome(fmean(worth(test, texts)), n_test, 3 * 2 * learned * ours.reading(length + said), CANDIDATES * each, cost.peak_bytes)

    return {
        AS_IS: as_it_is, PROMPT: shown, LORA: tuned(True), FULL: tuned(False), DPO: by_pairs, BEST_OF_N: best_of,
    }
