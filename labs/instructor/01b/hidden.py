"""Hidden checks of 01b. They know the answers by another road than the solution: by hand, by a slower formula, or by a property."""

import functools
import math
import random

import numpy as np
import torch

from finetunelab.grading.checks import check, close, number
from finetunelab.grading.wire import Ref

# 1. The perplexity of many texts ----------------------------------------------------------------------------------------------


@check(
    "corpus_perplexity", "Every token counts the same, in whatever text it stands.",
    hint="Sum losses and tokens over all texts before you divide.",
)
def perplexity_weighted(call):
    losses = [[random.Random(seed).uniform(0, 6) for _ in range(n)] for seed, n in enumerate((1, 40, 7, 300))]
    every = [loss for text in losses for loss in text]
    return close(call("corpus_perplexity", [sum(text) for text in losses], list(map(len, losses))), math.exp(np.mean(every)), 1e-5)


@check("corpus_perplexity", "A text without tokens changes nothing.", hint="Do not divide by the tokens of one text.")
def perplexity_empty(call):
    return close(call("corpus_perplexity", [0.0, 6.0, 0.0], [0, 3, 0]), math.exp(2), 1e-5)


@check("corpus_perplexity", "The loss is turned into a perplexity.", hint="Nats are undone by exp.")
def perplexity_exp(call):
    return close(call("corpus_perplexity", [0.0], [5]), 1) and close(call("corpus_perplexity", [700.0], [100]), math.exp(7), 1e-5)


# 2. Bits per byte -------------------------------------------------------------------------------------------------------------


@check("bits_per_byte", "A bit is not a nat.", hint="How many nats are a bit?")
def bits_are_bits(call):
    return close(call("bits_per_byte", [10.0, 5.0], ["a" * 30, "b" * 10]), 15 / 40 * 1.4426950408889634)


@check("bits_per_byte", "Letters outside of ASCII have more than one byte.", hint="len of a text counts characters.")
def bits_of_bytes(call):
    return close(call("bits_per_byte", [3.0, 9.0], ["crème brûlée", "ต้มยำ"]), 12 / 0.6931471805599453 / (15 + 15))


@check("bits_per_byte", "It is one ratio of two sums.", hint="Sum over all texts before you divide.")
def bits_summed(call):
    return close(call("bits_per_byte", [40.0, 1.0, 0.0], ["x", "y" * 99, ""]), 41 / 0.6931471805599453 / 100)


# 3. The loss ------------------------------------------------------------------------------------------------------------------


def _batch(seed, batch=3, length=7, kinds=11, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, length, kinds, generator=generator) * scale
    mask = (torch.rand(batch, length, generator=generator) < 0.6).long()
    return logits, torch.randint(kinds, (batch, length), generator=generator), mask


def _loss(logits, ids, mask):
    found = []
    for row in range(len(ids)):
        for place in range(1, ids.shape[1]):
            if mask[row, place]:
                scores = [float(score) for score in logits[row, place - 1]]
                top = max(scores)
                found.append(top + math.log(sum(math.exp(score - top) for score in scores)) - scores[int(ids[row, place])])
    return sum(found) / len(found) if found else 0.0


@check(
    "next_token_loss", "Without a mask, each place predicts the next token.",
    hint="Shift: the logits at t belong to the token at t + 1.",
)
def loss_shift(call):
    batches = [(logits, ids, torch.ones_like(mask)) for logits, ids, mask in map(_batch, range(4))]
    return all(close(call("next_token_loss", *batch), _loss(*batch), 1e-4) for batch in batches)


@check(
    "next_token_loss", "The mask says which tokens count.",
    hint="The mask belongs to the token that is predicted, so it is shifted with it.",
)
def loss_mask(call):
    return all(close(call("next_token_loss", *batch), _loss(*batch), 1e-4) for batch in map(_batch, range(10, 16)))


@check(
    "next_token_loss", "It is the mean over the tokens of the batch, not over its rows.",
    hint="Divide once, by the number of tokens that count.",
)
def loss_rows(call):
    logits, ids, mask = _batch(20, batch=2, length=12)
    mask[0], mask[1] = 1, 0
    mask[1, 5] = 1
    return close(call("next_token_loss", logits, ids, mask), _loss(logits, ids, mask), 1e-4)


@check("next_token_loss", "Nothing to predict is no trouble.", hint="What do you divide by if no token counts?")
def loss_nothing(call):
    logits, ids, mask = _batch(30)
    first = torch.zeros_like(mask)
    first[:, 0] = 1
    return close(call("next_token_loss", logits, ids, 0 * mask), 0) and close(call("next_token_loss", logits, ids, first), 0)


@check("next_token_loss", "Large logits do not overflow.", hint="Use log_softmax or logsumexp.")
def loss_large(call):
    batch = _batch(40, scale=400.0)
    return close(call("next_token_loss", *batch), _loss(*batch), 1e-4)


# 4. Packing -------------------------------------------------------------------------------------------------------------------


def _rows(value):
    return [[int(token) for token in row] for row in value]


@check("pack", "The rows, joined, are the texts in their order with an end behind each.", hint="Behind every text, the last one too.")
def pack_stream(call):
    rng = random.Random(5)
    texts = [[rng.randint(1, 50) for _ in range(rng.randint(1, 9))] for _ in range(40)]
    stream = []
    for text in texts:
        stream += text + [0]
    rows = _rows(call("pack", texts, 8, 0))
    return [token for row in rows for token in row] == stream[: len(stream) // 8 * 8] and all(len(row) == 8 for row in rows)


@check("pack", "What fills the last row exactly is kept.", hint="Count the end tokens when you count rows.")
def pack_exact(call):
    return _rows(call("pack", [[1, 2], [3, 4, 5, 6]], 4, 9)) == [[1, 2, 9, 3], [4, 5, 6, 9]]


@check("pack", "What does not fill a row is dropped.", hint="No padding and no short row.")
def pack_rest(call):
    return _rows(call("pack", [[1, 2, 3], [4]], 4, 0)) == [[1, 2, 3, 0]] and _rows(call("pack", [[1]], 4, 0)) == []


@check("pack", "Long and empty texts are texts as well.", hint="A text may span rows, and an empty one is its end alone.")
def pack_ends(call):
    return _rows(call("pack", [[], list(range(1, 11)), []], 4, 99)) == [[99, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 99]]


# 5. Drawing a token -----------------------------------------------------------------------------------------------------------


def _token(logits, temperature, u):
    top = max(logits)
    weights = [math.exp((score - top) / temperature) for score in logits]
    total, so_far = sum(weights), 0.0
    for token, weight in enumerate(weights):
        so_far += weight
        if so_far / total > u:
            return token
    return len(logits) - 1


def _draws(seed, temperature):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=9) * 2
    return [(logits, temperature, float(u)) for u in rng.random(25)]


@check("sample", "Each token has its stretch of the numbers from 0 to 1.", hint="Cumulative sums: the first that is greater than u.")
def sample_stretch(call):
    return all(number(call("sample", *draw)) == _token(*draw) for draw in _draws(1, 1.0))


@check("sample", "The temperature makes draws more or less daring.", hint="Divide the logits by it before the softmax.")
def sample_temperature(call):
    return all(number(call("sample", *draw)) == _token(*draw) for draw in _draws(2, 0.5) + _draws(3, 3.0))


@check("sample", "Temperature zero is greedy.", hint="Do not divide by zero: take the greatest.")
def sample_greedy(call):
    logits = np.array([0.1, -2.0, 5.0, 4.9])
    return all(call("sample", logits, temperature, u) == 2 for temperature in (0, 0.0) for u in (0.0, 0.5, 0.999))


@check(
    "sample", "Large logits and the ends of the range are no trouble.",
    hint="Subtract the greatest logit first; u may be 0 and almost 1.",
)
def sample_ends(call):
    draws = ([2000.0, 2000.0], 0.75, 1), ([-2000.0, -2000.0, -9000.0], 0.2, 0), ([0.0] * 4, 0.0, 0), ([0.0] * 10, 1 - 2**-53, 9)
    return all(call("sample", np.array(logits), 1.0, u) == token for logits, u, token in draws)


# 6. What was kept -------------------------------------------------------------------------------------------------------------


@check("skill_kept", "The scale is one of nats, from novice to before.", hint="Take logarithms first, then the share.")
def kept_scale(call):
    return close(call("skill_kept", 2.0, 8.0, 512.0), 6 / 8) and close(call("skill_kept", 3.0, 81.0, 81.0), 0)


@check("skill_kept", "It is not cut off at the ends.", hint="No minimum and no maximum.")
def kept_beyond(call):
    return close(call("skill_kept", 4.0, 2.0, 64.0), 5 / 4) and close(call("skill_kept", 2.0, 128.0, 16.0), -1)


# 7. Going on with training ----------------------------------------------------------------------------------------------------

EMBEDDINGS = "model.embed_tokens"
PLAIN, FROZEN = Ref("model", {"name": "nano-small"}), Ref("model", {"name": "nano-small", "frozen": [EMBEDDINGS]})
RATE = 0.01


@functools.lru_cache
def _base():
    from finetunelab.models import load_model

    return load_model("nano-small")


def _ids(n):
    generator = torch.Generator().manual_seed(77)
    return [torch.randint(5, 4000, (2, 12), generator=generator) for _ in range(n)]


@functools.lru_cache
def _descended(batches, steps, frozen=False):
    """The weights and losses of gradient descent, without an optimizer."""
    import copy

    model = copy.deepcopy(_base())
    moving = {name: p for name, p in model.named_parameters() if not (frozen and name.startswith(EMBEDDINGS))}
    data, losses = _ids(batches), []
    for step in range(steps):
        loss = model(input_ids=data[step % batches], labels=data[step % batches]).loss
        for parameter, gradient in zip(moving.values(), torch.autograd.grad(loss, list(moving.values()))):
            parameter.data -= RATE * gradient
        losses.append(loss.item())
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}, losses


def _trained(call, batches, steps, model=PLAIN):
    losses, after = call("train_steps", model, _ids(batches), steps, RATE, after=True)
    return [number(loss) for loss in losses], after[0]


def _like(weights, expected):
    return weights.keys() == expected.keys() and all(torch.allclose(weights[name], expected[name], atol=3e-5) for name in expected)


@check("train_steps", "There is one loss a step, each from before that step.", hint="How long is the list, and when is a loss noted?")
def train_losses(call):
    losses, _ = _trained(call, 3, 3)
    return len(losses) == 3 and np.allclose(losses, _descended(3, 3)[1], atol=1e-3)


@check(
    "train_steps", "The weights are those of plain gradient descent.",
    hint="Forget old gradients before each step; how many steps were taken?",
)
def train_weights(call):
    return _like(_trained(call, 3, 3)[1], _descended(3, 3)[0])


@check("train_steps", "After the last batch comes the first again.", hint="steps may be more than there are batches.")
def train_round(call):
    return _like(_trained(call, 2, 5)[1], _descended(2, 5)[0])


@check("train_steps", "What is frozen stays, and the rest is trained.", hint="Leave requires_grad as it is.")
def train_frozen(call):
    weights = _trained(call, 2, 2, FROZEN)[1]
    frozen = {name: tensor for name, tensor in _base().state_dict().items() if name.startswith((EMBEDDINGS, "lm_head"))}
    kept = all(torch.equal(weights[name], tensor) for name, tensor in frozen.items())
    return kept and _like(weights, _descended(2, 2, frozen=True)[0])


@check("train_steps", "No step changes nothing.", hint="steps may be zero.")
def train_none(call):
    losses, weights = _trained(call, 1, 0)
    return losses == [] and all(torch.equal(weights[name], tensor) for name, tensor in _base().state_dict().items())


# 8. Learn Thai, keep French ---------------------------------------------------------------------------------------------------

SEED = 41_300


@functools.lru_cache
def _recipes():
    from finetunelab import worlds
    from finetunelab.models import load_tokenizer

    tokenizer = load_tokenizer("nano-small")
    draw = lambda name, n, split: [row["text"] for row in worlds.generator(name).rows(n, split, SEED)]  # noqa: E731
    rows = {}
    for name in ("thai_recipes", "french_recipes"):
        ids = [token for text in draw(name, 60, "train") for token in (*tokenizer(text)["input_ids"], tokenizer.eos_token_id)]
        rows[name] = torch.tensor(ids[: len(ids) // 128 * 128]).view(-1, 128)
    return tokenizer, rows, {name: draw(name, 25, "test") for name in rows}


def _perplexities(call):
    """The perplexities on Thai and French; measured here, on the weights that came back."""
    import copy

    from finetunelab.skills import perplexity

    if "perplexities" not in call.memory:
        tokenizer, rows, tests = _recipes()
        weights = call("learn_and_keep", PLAIN, rows["thai_recipes"], rows["french_recipes"], 20, seconds=30)
        model = copy.deepcopy(_base())
        model.load_state_dict(weights)
        call.memory["perplexities"] = [perplexity(model, tokenizer, texts) for texts in tests.values()]
    return call.memory["perplexities"]


@check("learn_and_keep", "It learns Thai.", hint="Return the model that you trained, on rows of Thai recipes, within the time.")
def learns(call):
    return _perplexities(call)[0] <= 100


@check("learn_and_keep", "It learns Thai well.", hint="Compare several rates, and several optimizers, on validation recipes.")
def learns_well(call):
    return _perplexities(call)[0] <= 20


@check("learn_and_keep", "Some French stays.", hint="Does French get its share of the rows?")
def keeps(call):
    thai, french = _perplexities(call)
    return thai <= 100 and french <= 8


@check("learn_and_keep", "Most French stays.", hint="Replay more, or take smaller steps.")
def keeps_well(call):
    thai, french = _perplexities(call)
    return thai <= 100 and french <= 4
