"""Hidden checks of 02b. They know the answers by another road than the solution: by hand, by a slower formula, or by a property."""

import copy
import functools

import numpy as np
import torch

from finetunelab.grading.checks import check, close, number
from finetunelab.grading.wire import Ref

# 1. What is frozen, and what is trained ---------------------------------------------------------------------------------------

# Of nano-small: width, inner width of its perceptrons, blocks, vocabulary. Attention has four square matrices with a bias each.
WIDTH, INNER, BLOCKS, VOCABULARY = 56, 128, 3, 4096
BLOCK = 4 * (WIDTH * WIDTH + WIDTH) + 3 * WIDTH * INNER + 2 * WIDTH
ALL = BLOCKS * BLOCK + WIDTH + VOCABULARY * WIDTH


def _model(*frozen):
    return Ref("model", {"name": "nano-small", "frozen": list(frozen)})


def _counts(call, blocks, *frozen):
    return [number(value) for value in call("freeze_but_last", _model(*frozen), blocks)]


@check(
    "freeze_but_last", "The last block and the norm above it are counted.",
    hint="Which blocks are the last, and is the norm among what is trained?",
)
def freeze_one(call):
    return _counts(call, 1)[0] == BLOCK + WIDTH


@check("freeze_but_last", "More blocks are more parameters.", hint="How do you take the last few of a list?")
def freeze_two(call):
    return _counts(call, 2)[0] == 2 * BLOCK + WIDTH


@check("freeze_but_last", "With no block nothing is trained.", hint="What are the last none of a list, in Python?")
def freeze_none(call):
    return _counts(call, 0)[0] == 0


@check(
    "freeze_but_last", "With all blocks the embeddings stay frozen.", hint="Whatever is no block, and not the norm above them, is frozen.",
)
def freeze_blocks(call):
    return _counts(call, BLOCKS)[0] == BLOCKS * BLOCK + WIDTH


@check("freeze_but_last", "What is shared counts once.", hint="The next-token layer is the embedding matrix.")
def freeze_all(call):
    return all(_counts(call, blocks)[1] == ALL for blocks in (0, 2))


@check("freeze_but_last", "What was frozen before makes no difference.", hint="Freeze, and unfreeze as well.")
def freeze_again(call):
    return _counts(call, 1, "model.layers.2", "model.norm") == [BLOCK + WIDTH, ALL] and _counts(call, 2, "") == [2 * BLOCK + WIDTH, ALL]


# 2. The share of the gain -----------------------------------------------------------------------------------------------------


@check("recovered_share", "It is a share of gains, not of accuracies.", hint="What is each accuracy measured from?")
def share_of_gains(call):
    return close(call("recovered_share", [0.5], [0.65], [0.7]), 3 / 4) and close(call("recovered_share", [0.6], [0.6], [0.9]), 0)


@check("recovered_share", "One seed without a gain does not upset it.", hint="Take the means first, then the ratio.")
def share_of_means(call):
    frozen, method, full = [0.5, 0.55, 0.6, 0.45], [0.6, 0.6, 0.7, 0.55], [0.7, 0.55, 0.65, 0.7]
    return close(call("recovered_share", frozen, method, full), 35 / 50) and close(
        call("recovered_share", [0.5, 0.5], [0.6, 0.7], [0.6, 0.9]), 30 / 50)


@check("recovered_share", "More than all and less than nothing stay what they are.", hint="No minimum and no maximum.")
def share_beyond(call):
    return close(call("recovered_share", [0.5, 0.5], [0.8, 0.6], [0.6, 0.6]), 2) and close(
        call("recovered_share", [0.5, 0.7], [0.4, 0.6], [0.7, 0.9]), -1 / 2)


@check("recovered_share", "Where full fine-tuning gains nothing there is no share.", hint="Can the denominator be zero, or below?")
def share_none(call):
    runs = ([0.75], [0.875], [0.75]), ([0.5, 0.75], [0.75, 0.75], [0.75, 0.5]), ([0.9], [0.5], [0.7])
    return all(call("recovered_share", *run) is None for run in runs)


# 3. What stays in memory ------------------------------------------------------------------------------------------------------

# Two matrices of 128 by 128 and of 128 by 384, 65,536 weights in all. At rank 1 their strips hold 256 and 512 numbers.
SHAPES, OTHERS = [(128, 128), (128, 384)], 1_000
STRIPS = 256 + 512


def _kept(call, method, rank=1, shapes=SHAPES, others=OTHERS):
    return [number(value) for value in call("kept_bytes", shapes, others, rank, method)]


@check("kept_bytes", "Full fine-tuning keeps sixteen bytes for each parameter.", hint="A weight, its gradient, and two moments.")
def bytes_full(call):
    return _kept(call, "full") == [4 * 66_536, 4 * 66_536, 8 * 66_536] and _kept(call, "full", 8) == _kept(call, "full")


@check("kept_bytes", "A frozen model keeps its weights and nothing else.", hint="What is not trained has no gradient and no moments.")
def bytes_frozen(call):
    return _kept(call, "frozen", 4) == [2 * 66_536, 0, 0]


@check(
    "kept_bytes", "LoRA keeps gradients and moments for its corrections alone.", hint="What is trained? Count the numbers of both strips.",
)
def bytes_lora_trained(call):
    return all(_kept(call, "LoRA", rank)[1:] == [4 * rank * STRIPS, 8 * rank * STRIPS] for rank in (1, 2, 16))


@check("kept_bytes", "LoRA keeps all weights in 16 bit, and the corrections in 32.", hint="The corrections come on top of the model.")
def bytes_lora_weights(call):
    return all(_kept(call, "LoRA", rank)[0] == 2 * 66_536 + 4 * rank * STRIPS for rank in (1, 8))


@check("kept_bytes", "Matrices may be wider than high.", hint="One strip is as long as the inputs, the other as the outputs.")
def bytes_shapes(call):
    wide, high = _kept(call, "LoRA", 2, [(32, 512)], 0), _kept(call, "LoRA", 2, [(512, 32)], 0)
    return wide == high == [2 * 16_384 + 4 * 2 * 544, 4 * 2 * 544, 8 * 2 * 544]


@check("kept_bytes", "In 4 bit the constants are counted.", hint="A constant for each few weights, and one for each few constants.")
def bytes_packed(call):
    # 65,536 weights are 32,768 bytes, 1,024 constants of one byte, and 4 of four bytes.
    return _kept(call, "QLoRA", 1, SHAPES, 0) == [32_768 + 1_024 + 16 + 4 * STRIPS, 4 * STRIPS, 8 * STRIPS]


@check("kept_bytes", "QLoRA packs the matrices and nothing else.", hint="What happens to embeddings and norms?")
def bytes_others(call):
    with_them, without = _kept(call, "QLoRA", 4, SHAPES, 50_000), _kept(call, "QLoRA", 4, SHAPES, 0)
    return [a - b for a, b in zip(with_them, without)] == [100_000, 0, 0] and with_them[1:] == [16 * STRIPS, 32 * STRIPS]


# 4. LoRA ----------------------------------------------------------------------------------------------------------------------


def _layer(seed, n=40, inputs=6, outputs=5):
    """A layer, rows for it, and what should come out: the layer's own output, changed by a matrix of rank 1, and some noise."""
    generator = torch.Generator().manual_seed(seed)
    draw = functools.partial(torch.randn, generator=generator)
    x, weight, bias = draw(n, inputs), draw(outputs, inputs), draw(outputs)
    y = x @ (weight + torch.outer(draw(outputs), draw(inputs))).T + bias + 0.1 * draw(n, outputs)
    return x, y, weight, bias


def _replayed(layer, A, scale, steps, rate):
    """Strips after gradient descent from A and zero, with gradients written out, in double precision."""
    x, y, weight, bias = (tensor.double() for tensor in layer)
    A, B = A.double(), torch.zeros(len(weight), len(A)).double()
    for _ in range(steps):
        wrong = 2 * (x @ weight.T + bias + scale * x @ A.T @ B.T - y) / y.numel()
        A, B = A - rate * scale * B.T @ wrong.T @ x, B - rate * scale * wrong.T @ x @ A.T
    return A, B


def _near(found, expected, within=1e-4):
    return found.shape == expected.shape and bool(torch.allclose(found.double(), expected.double(), rtol=within, atol=within))


def _learn(call, layer, rank=2, alpha=2.0, steps=0, rate=0.2, seed=3):
    return call("learn_correction", *layer, rank, alpha, steps, rate, seed)


@check("learn_correction", "On the first day nothing has changed.", hint="Which strip makes the product zero, whatever the other is?")
def lora_first_day(call):
    layer = _layer(1)
    A, B, merged = _learn(call, layer, rank=3)
    return A.shape == (3, 6) and B.shape == (5, 3) and not B.any() and _near(merged, layer[2], 1e-6)


@check(
    "learn_correction", "The strip that is not zero is random, as the seed says.",
    hint="Mean zero, spread by the number of inputs, a generator.",
)
def lora_random(call):
    layer = _layer(2, inputs=400, outputs=7)
    first, again, other = (_learn(call, layer, rank=4, seed=seed)[0] for seed in (1, 1, 2))
    spread = abs(float(first.std()) * 20 - 1) < 0.15 and abs(float(first.mean())) < 0.01
    return spread and bool(torch.equal(first, again)) and not _near(first, other)


@check("learn_correction", "The first step moves B by its gradient, and A not at all.", hint="While B is zero, no gradient reaches A.")
def lora_one_step(call):
    layer = _layer(3)
    start, (A, B, _) = _learn(call, layer)[0], _learn(call, layer, steps=1)
    return _near(A, start, 1e-6) and _near(B, _replayed(layer, start, 1.0, 1, 0.2)[1]) and bool(B.any())


@check("learn_correction", "Both strips learn.", hint="Each step takes the gradients of A and B from before the step.")
def lora_steps(call):
    layer = _layer(4)
    start, (A, B, _) = _learn(call, layer)[0], _learn(call, layer, steps=12)
    expected = _replayed(layer, start, 1.0, 12, 0.2)
    return _near(A, expected[0], 1e-3) and _near(B, expected[1], 1e-3) and not _near(A, start, 1e-3)


@check("learn_correction", "The correction is scaled by alpha over the rank.", hint="Where does the scale enter, and so the gradients?")
def lora_scale(call):
    layer = _layer(5)
    for rank, alpha in ((1, 2.0), (4, 2.0)):
        start, (A, B, _) = _learn(call, layer, rank, alpha)[0], _learn(call, layer, rank, alpha, steps=6, rate=0.1)
        expected = _replayed(layer, start, alpha / rank, 6, 0.1)
        if not (_near(A, expected[0], 1e-3) and _near(B, expected[1], 1e-3)):
            return False
    return True


@check(
    "learn_correction", "Merged, the layer gives what it gave with its correction beside it.",
    hint="The scale goes into the merged matrix, too.",
)
def lora_merge(call):
    layer = _layer(6)
    for rank, alpha in ((2, 2.0), (1, 3.0), (4, 1.0)):
        A, B, merged = _learn(call, layer, rank, alpha, steps=8, rate=0.1)
        if not B.any() or not _near(merged, layer[2] + alpha / rank * B @ A):
            return False
    return True


@check(
    "learn_correction", "The layer itself, and what goes in and out, stay as they are.",
    hint="Merge into a new matrix; only the strips are trained.",
)
def lora_frozen(call):
    layer = _layer(7)
    after = call("learn_correction", *layer, 2, 4.0, 5, 0.1, 0, after=True)[1]
    return all(bool(torch.equal(now, before)) for now, before in zip(after[:4], layer, strict=True))


@check("learn_correction", "It finds a change of low rank.", hint="Does the error fall, step after step?")
def lora_learns(call):
    x, y, weight, bias = layer = _layer(8, n=80)
    _, _, merged = _learn(call, layer, rank=2, alpha=4.0, steps=300, rate=0.1)
    error = lambda matrix: float(((x @ matrix.T + bias - y) ** 2).mean())  # noqa: E731
    return error(merged) < 0.03 * error(weight) and int(np.linalg.matrix_rank((merged - weight).numpy(), tol=1e-3)) <= 2


# 5. A small file for a new task -----------------------------------------------------------------------------------------------

SEED = 41_202


@functools.lru_cache
def _base():
    from finetunelab.models import load_model

    return load_model("nano-small")


@functools.lru_cache
def _reviews():
    from finetunelab.models import load_tokenizer
    from finetunelab.worlds.baseline import labelled

    tokenizer, found = load_tokenizer("nano-small"), []
    for n, split in ((400, "train"), (400, "test")):
        texts, labels = labelled("reviews", "topic", n, split, SEED)
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        found.append((batch["input_ids"], batch["attention_mask"], labels))
    return found


def _file(call):
    """What came back, as (corrections, weight, bias). An error if it has another form, or a correction fits beside no matrix."""
    if "file" not in call.memory:
        call.memory["file"] = call("adapt", Ref("model", {"name": "nano-small"}), *_reviews()[0], seconds=60)
    corrections, weight, bias = call.memory["file"]
    shapes = {name: tensor.shape for name, tensor in _base().state_dict().items() if tensor.dim() == 2}
    if weight.shape != (6, WIDTH) or bias.shape != (6,):
        raise ValueError
    for name, (A, B) in corrections.items():
        if A.dim() != 2 or (len(B), A.shape[1]) != shapes[name] or B.shape[1] != len(A):
            raise ValueError
    return corrections, weight, bias


def _fits(call):
    corrections, weight, bias = _file(call)
    return sum(strip.numel() for pair in corrections.values() for strip in pair) + weight.numel() + bias.numel() <= ALL / 20


def _accuracy(call):
    """The accuracy on other reviews, measured here; zero if the file is too large."""
    from finetunelab.heads import pool

    if "accuracy" not in call.memory:
        corrections, weight, bias = _file(call)
        model, (ids, mask, labels) = copy.deepcopy(_base()), _reviews()[1]
        states = model.state_dict()
        with torch.no_grad():
            for name, (A, B) in corrections.items():
                states[name] += B @ A
            scores = [
                pool(model.get_decoder()(input_ids=some, attention_mask=seen).last_hidden_state, seen, "mean") @ weight.T + bias
                for some, seen in zip(ids.split(50), mask.split(50))
            ]
        call.memory["accuracy"] = float((torch.cat(scores).argmax(1) == torch.tensor(labels)).float().mean()) if _fits(call) else 0.0
    return call.memory["accuracy"]


@check(
    "adapt", "It has the right form, and is small enough.", hint="Count the numbers of all strips and of the head; a lower rank has fewer.",
)
def adapts_small(call):
    return _fits(call)


@check(
    "adapt", "It does more than a head on the frozen model can.",
    hint="Do the corrections do merged what they did in training? The scale.", points=2,
)
def adapts(call):
    return _accuracy(call) >= 0.65


@check("adapt", "It learns the task nearly as well as full fine-tuning does.", hint="Compare several rates and numbers of steps.", points=2)
def adapts_well(call):
    return _accuracy(call) >= 0.85
