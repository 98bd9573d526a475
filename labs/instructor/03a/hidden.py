"""Hidden checks of 03a. They know the answers by another road than the solution: by hand, by a slower formula, or by a property."""

import copy
import functools
import math
import random

import numpy as np
import torch

from finetunelab.grading.checks import check, close, number
from finetunelab.grading.wire import Ref

MODEL, TOKENIZER = Ref("model", {"name": "nano-small"}), Ref("tokenizer", {"name": "nano-small"})


@functools.lru_cache
def _base():
    from finetunelab.models import load_model

    return load_model("nano-small")


@functools.lru_cache
def _tokenizer():
    from finetunelab.models import load_tokenizer

    return load_tokenizer("nano-small")


# 1. What surprises it ---------------------------------------------------------------------------------------------------------


def _text(seed, length=9, kinds=13, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(length, kinds, generator=generator) * scale, torch.randint(kinds, (length,), generator=generator)


def _bits(logits, ids):
    found = []
    for place in range(1, len(ids)):
        scores = [float(score) for score in logits[place - 1]]
        top = max(scores)
        nats = top + math.log(sum(math.exp(score - top) for score in scores)) - scores[int(ids[place])]
        found.append(nats * 1.4426950408889634)
    return found


def _surprises(call, logits, ids):
    return np.asarray(call("surprises", logits, ids), dtype=np.float64)


def _right(call, logits, ids):
    found, expected = _surprises(call, logits, ids), _bits(logits, ids)
    return found.shape == (len(expected),) and np.allclose(found, expected, rtol=1e-4, atol=1e-4)


@check(
    "surprises", "Each place predicts the next token.", hint="The logits at t belong to the token at t + 1; the last ones belong to none.",
    points=2,
)
def surprises_shift(call):
    return all(_right(call, *_text(seed)) for seed in range(4))


@check("surprises", "They are bits, one number for each token.", hint="How many nats are a bit? Do not take the mean.")
def surprises_bits(call):
    found = _surprises(call, torch.zeros(3, 32), torch.tensor([4, 9, 9]))
    return found.shape == (2,) and np.allclose(found, 5, atol=1e-4)


@check("surprises", "Large logits are no trouble.", hint="Use log_softmax, not the logarithm of a softmax.", points=2)
def surprises_large(call):
    return all(_right(call, *_text(seed, scale=500.0)) for seed in range(10, 13))


@check("surprises", "A text of one token has no surprise.", hint="What is left after the first token?")
def surprises_short(call):
    return _surprises(call, *_text(3, length=1)).shape == (0,) and _right(call, *_text(4, length=2))


# 2. Two numbers for a corpus --------------------------------------------------------------------------------------------------

TEXTS = ["Der Löffel liegt im Bücherregal.", "ok", "", "ต้มยำ with rice, and a long list of things that nobody has asked for"]
SIZES = (11, 2, 0, 40)


def _losses(seed):
    rng = random.Random(seed)
    return [[rng.uniform(0, 5) for _ in range(n)] for n in SIZES]


def _summary(call, nats, texts):
    perplexity, bits = call("summarize", nats, texts)
    return number(perplexity), number(bits)


@check("summarize", "Every token counts the same, in whatever text it stands.", hint="Sum over all texts before you divide.", points=2)
def summary_perplexity(call):
    flat = [[loss for text in _losses(seed) for loss in text] for seed in range(3)]
    return all(close(_summary(call, _losses(seed), TEXTS)[0], math.exp(np.mean(flat[seed])), 1e-5) for seed in range(3))


@check("summarize", "Bits are not nats.", hint="How many nats are a bit?")
def summary_bits(call):
    return close(_summary(call, [[3.0, 1.0], [2.0]], ["a" * 30, "b" * 10])[1], 6 / 40 * 1.4426950408889634)


@check("summarize", "Letters outside of ASCII have more than one byte.", hint="len of a text counts characters.")
def summary_bytes(call):
    return close(_summary(call, [[4.0], [8.0]], ["crème", "ต้มยำ"])[1], 12 / 0.6931471805599453 / (6 + 15))


@check("summarize", "Texts without tokens change nothing.", hint="Do not divide by the tokens of one text.")
def summary_empty(call):
    perplexity, bits = _summary(call, [[], [6.0, 0.0, 3.0], []], ["", "abc", ""])
    return close(perplexity, math.exp(3), 1e-5) and close(bits, 3 / 0.6931471805599453, 1e-5)


# 3. The likeliest ending ------------------------------------------------------------------------------------------------------

# Of one token and of many, so that a sum and a mean put them in different orders.
PROMPTS = {
    "Pour the eggs over the ham and cook for two": ["minutes", "hours and a half of an hour", "gardens"],
    "Dear Sir, I write about the": ["letter that you sent to my sister in the spring", "bread", "xylophone"],
    "The": ["soup", "lake lies north of the town"],
}


def _chosen(call, prompt, endings):
    scores, best = call("choose", MODEL, TOKENIZER, prompt, endings)
    return [number(score) for score in scores], number(best)


@functools.lru_cache
def _expected(prompt):
    """The scores: the whole row's loss less the prompt's, computed by the library."""
    tokenizer, found = _tokenizer(), []
    head = tokenizer(prompt)["input_ids"]
    for ending in PROMPTS[prompt]:
        tail = tokenizer(" " + ending, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([head + tail])
        labels = torch.tensor([[-100] * len(head) + tail])
        with torch.inference_mode():
            found.append(-_base()(input_ids=ids, labels=labels).loss.item() * len(tail))
    return found


def _like(scores, expected):
    return len(scores) == len(expected) and np.allclose(scores, expected, rtol=1e-3, atol=1e-3)


@check(
    "choose", "An ending of one token gets the log-probability of that token after the prompt.",
    hint="Which logits are about the first token of the ending? And is there a space before it?", points=2,
)
def choose_one_token(call):
    scores = {ending: score for prompt in PROMPTS for ending, score in zip(PROMPTS[prompt], _chosen(call, prompt, PROMPTS[prompt])[0])}
    expected = {ending: score for prompt in PROMPTS for ending, score in zip(PROMPTS[prompt], _expected(prompt))}
    single = [ending for ending in expected if len(_tokenizer()(" " + ending, add_special_tokens=False)["input_ids"]) == 1]
    return len(single) > 1 and _like([scores[ending] for ending in single], [expected[ending] for ending in single])


@check("choose", "Of a longer ending all tokens count, and they alone.", hint="A sum over its tokens: no mean, and no prompt.", points=2)
def choose_many_tokens(call):
    return all(_like(_chosen(call, prompt, endings)[0], _expected(prompt)) for prompt, endings in PROMPTS.items())


@check("choose", "The place is that of the likeliest.", hint="Log-probabilities are negative: the likeliest is nearest to zero.")
def choose_place(call):
    return all(_chosen(call, prompt, endings)[1] == int(np.argmax(_expected(prompt))) for prompt, endings in PROMPTS.items())


@check("choose", "The order of the endings decides nothing else.", hint="Each ending is scored by itself.", points=1)
def choose_order(call):
    prompt, endings = next(iter(PROMPTS.items()))
    scores, best = _chosen(call, prompt, endings[::-1])
    return _like(scores[::-1], _expected(prompt)) and best == len(endings) - 1 - int(np.argmax(_expected(prompt)))


@check("choose", "An empty prompt and a single ending are no trouble.", hint="There is a begin token in front.")
def choose_alone(call):
    ids = torch.tensor([_tokenizer()(" rice", add_special_tokens=False)["input_ids"]])
    begin = torch.tensor([_tokenizer()("")["input_ids"]])
    with torch.inference_mode():
        log_p = _base()(torch.cat([begin, ids], 1)).logits[0].log_softmax(-1)
    expected = sum(log_p[begin.shape[1] - 1 + i, token].item() for i, token in enumerate(ids[0]))
    scores, best = _chosen(call, "", ["rice"])
    return best == 0 and _like(scores, [expected])


# 4. A fair mix ----------------------------------------------------------------------------------------------------------------

NEW, OLD = [f"neu {i}" for i in range(20)], [f"alt {i}" for i in range(400)]


def _mix(call, passes=3, steps=120, share=0.4, seed=5, new=None):
    mixed, longer = call("replay_mix", new or NEW, OLD, passes, steps, share, seed)
    return [str(text) for text in mixed], number(longer)


@check("replay_mix", "Each new text is there as often as there are passes.", hint="Count one new text in the list.")
def mix_passes(call):
    return all(sorted(t for t in _mix(call, passes)[0] if t in NEW) == sorted(NEW * passes) for passes in (1, 3))


@check("replay_mix", "The share is one of all texts.", hint="How many old ones make the list's share, not that of the new?")
def mix_share(call):
    # Of how many texts in all, by trying: the count whose share is nearest.
    def nearest(n, share):
        return min(range(4 * n), key=lambda k: abs(k / (k + n) - share))

    counts = {(passes, share): sum(t in OLD for t in _mix(call, passes, share=share)[0]) for passes in (1, 3) for share in (0.1, 0.5, 0.8)}
    return all(abs(count - nearest(20 * passes, share)) <= 1 for (passes, share), count in counts.items()) and counts[3, 0.5] == 60


@check("replay_mix", "No old text comes twice.", hint="Draw without repetition.")
def mix_without_repetition(call):
    old = [text for text in _mix(call, 4, share=0.8)[0] if text in OLD]
    return len(old) == 320 and len(set(old)) == len(old)


@check("replay_mix", "The seed decides which and in what order, and nothing else does.", hint="Use random.Random(seed).")
def mix_seed(call):
    first, again, other = _mix(call)[0], _mix(call)[0], _mix(call, seed=6)[0]
    return first == again and first != other and {t for t in first if t in OLD} != {t for t in other if t in OLD}


@check("replay_mix", "Old and new are mixed.", hint="Is the list shuffled?")
def mix_shuffled(call):
    mixed = _mix(call, 4, share=0.5)[0]
    changes = sum((a in OLD) != (b in OLD) for a, b in zip(mixed, mixed[1:]))
    return len(mixed) == 160 and changes > 40


@check("replay_mix", "It reads the new as often as without replay.", hint="Of every step, how much is new?")
def mix_steps(call):
    found = {share: _mix(call, 1, steps=120, share=share)[1] for share in (0, 0.25, 0.5, 0.75)}
    return found == {0: 120, 0.25: 160, 0.5: 240, 0.75: 480}


# 5. Facts in a hurry ----------------------------------------------------------------------------------------------------------

SEED = 41_500
WORDINGS = (
    "People who have {e} complain about the", "Tell me what {e} damages: the", "If it is {e}, the trouble is in the",
    "We treat {e} by healing the", "An organ that {e} can ruin is the",
)


@functools.lru_cache
def _lesson():
    """The facts, the old texts to train on, the questions, and the old texts to test on."""
    from finetunelab.experiments.knowledge_language import together, town_texts
    from finetunelab.worlds.clinic import Cloze, facts

    known = [(fact.entity, fact.answer) for fact in facts(SEED) if fact.relation == "organ"][:12]
    rng, organs, questions = random.Random(SEED), sorted({organ for _, organ in known}), []
    for disease, organ in known:
        for wording in WORDINGS:
            wrong = rng.sample([other for other in organs if other != organ], 4)
            questions.append(Cloze(wording.format(e=disease), organ, tuple(wrong), "organ", disease))
    return known, together(town_texts(40, "train", SEED)), questions, together(town_texts(6, "test", SEED))


def _taught(call):
    """The share of questions answered rightly, and the town's perplexity; measured here, on the weights that came back."""
    from finetunelab.skills import perplexity, recall

    if "taught" not in call.memory:
        known, old, questions, town = _lesson()
        weights = call("teach", MODEL, TOKENIZER, known, old, seconds=60)
        model = copy.deepcopy(_base())
        model.load_state_dict(weights)
        call.memory["taught"] = recall(model, _tokenizer(), questions), perplexity(model, _tokenizer(), town)
    return call.memory["taught"]


@check("teach", "It learns facts.", hint="Return the model that you trained, on sentences that state the facts, within the time.")
def teach_some(call):
    return _taught(call)[0] >= 0.45


@check("teach", "It finds them in other words.", hint="State each fact in more than one way; compare rates and numbers of steps.")
def teach_most(call):
    return _taught(call)[0] >= 0.6


@check("teach", "Some of the old stays.", hint="Do old texts get their share of every step?")
def teach_keeps(call):
    share, town = _taught(call)
    return share >= 0.4 and town <= 60


@check("teach", "Most of the old stays.", hint="Replay more, or take smaller steps.")
def teach_keeps_most(call):
    share, town = _taught(call)
    return share >= 0.4 and town <= 35


@check(
    "teach", "It has learned much and lost little.", hint="Both at once: balance old and new in each step, and let the rate fall.",
    points=2,
)
def teach_both(call):
    share, town = _taught(call)
    return share >= 0.6 and town <= 35
