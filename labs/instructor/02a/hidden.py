"""Hidden checks of 02a. They know the answers by another road than the solution: by hand, by a slower formula, or by a property."""

import functools
import math

import numpy as np
import torch

from finetunelab.grading.checks import check, close, number
from finetunelab.grading.wire import Ref


def _near(found, expected, within=1e-5):
    """Whether a hand-in's array or tensor has the expected shape, and the expected numbers give or take ``within``."""
    found, expected = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    return found.shape == expected.shape and bool(np.allclose(found, expected, rtol=within, atol=within))


# 1. One vector for a text -----------------------------------------------------------------------------------------------------


def _batch(seed, lengths, width=4, left=False):
    """States of shape (batch, length, width), a mask, and the states of each text alone. Padding holds large numbers."""
    generator = torch.Generator().manual_seed(seed)
    length = max(lengths) + seed % 3
    states, mask, alone = torch.randn(len(lengths), length, width, generator=generator) * 50, torch.zeros(len(lengths), length).long(), []
    for row, n in enumerate(lengths):
        place = slice(length - n, length) if left else slice(0, n)
        alone.append(torch.randn(n, width, generator=generator))
        states[row, place], mask[row, place] = alone[-1], 1
    return states, mask, alone


@check(
    "pool", "The last token is found where padding stands behind texts.",
    hint="The last column may be padding: where is the last 1?", points=2,
)
def pool_last(call):
    batches = [_batch(seed, lengths) for seed, lengths in ((1, [5, 2, 7, 1]), (3, [6, 6]), (5, [1, 9, 4]))]
    return all(_near(call("pool", states, mask, "last"), [text[-1].tolist() for text in alone]) for states, mask, alone in batches)


@check("pool", "The last token is found where padding stands before texts.", hint="The number of tokens is not the place of the last one.")
def pool_last_left(call):
    batches = [_batch(seed, lengths, left=True) for seed, lengths in ((2, [3, 8, 1]), (4, [7, 2, 5, 5]))]
    return all(_near(call("pool", states, mask, "last"), [text[-1].tolist() for text in alone]) for states, mask, alone in batches)


@check("pool", "The mean is one over tokens, not over padding.", hint="Weigh each state by its mask before you add.")
def pool_mean(call):
    batches = [_batch(seed, lengths) for seed, lengths in ((7, [5, 2, 7, 1]), (8, [3, 9]))]
    means = [[text.mean(0).tolist() for text in alone] for _, _, alone in batches]
    return all(_near(call("pool", states, mask, "mean"), mean, 1e-4) for (states, mask, _), mean in zip(batches, means))


@check("pool", "Each text's mean is divided by its own number of tokens.", hint="Divide by the sum of the mask, row by row.")
def pool_mean_own(call):
    states = torch.zeros(3, 8, 2)
    mask = torch.zeros(3, 8).long()
    for row, n in enumerate((1, 2, 8)):
        states[row, :n], mask[row, :n] = row + 1.0, 1  # padding is zero here: only what is divided by can be wrong
    return _near(call("pool", states, mask, "mean"), [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])


@check("pool", "Padding before a text does not enter its mean.", hint="The mask tells what is padding, on either side.")
def pool_mean_left(call):
    states, mask, alone = _batch(10, [4, 1, 6], left=True)
    return _near(call("pool", states, mask, "mean"), [text.mean(0).tolist() for text in alone], 1e-4)


# 2. The features of a frozen model --------------------------------------------------------------------------------------------

MODEL, TOKENIZER = Ref("model", {"name": "nano-small"}), Ref("tokenizer", {"name": "nano-small"})


@functools.lru_cache
def _small():
    from finetunelab.models import load_model, load_tokenizer

    return load_model("nano-small"), load_tokenizer("nano-small")


@functools.lru_cache
def _texts():
    """Reviews of all lengths, the short ones among the long."""
    from finetunelab.worlds.baseline import labelled

    reviews = labelled("reviews", "topic", 11, "test", 41_102)[0]
    return [review if i % 3 else review.split(".")[0] for i, review in enumerate(reviews)]


@functools.lru_cache
def _vectors():
    """The vector of each text, computed alone and without padding."""
    model, tokenizer = _small()
    found = []
    with torch.inference_mode():
        for text in _texts():
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            found.append(model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0].mean(0).numpy())
    return np.stack(found)


@check(
    "embed", "The vector of a single text is the mean of its last states.",
    hint="Which states does the decoder return, and from which layer?",
)
def embed_one(call):
    return all(_near(call("embed", MODEL, TOKENIZER, [_texts()[i]], 1), _vectors()[i : i + 1], 1e-3) for i in (1, 3))


@check("embed", "What a text shares its batch with makes no difference.", hint="Leave the padding out of the mean.")
def embed_padding(call):
    found = np.asarray(call("embed", MODEL, TOKENIZER, _texts(), len(_texts())))
    # Sorted, so that what stands in another order loses elsewhere.
    return _near(found[np.argsort(found[:, 0])], _vectors()[np.argsort(_vectors()[:, 0])], 1e-3)


@check("embed", "Rows stand in the order of the texts.", hint="If you sort texts by length, put the rows back.")
def embed_order(call):
    # One text at a time, so that padding plays no part. Each row is nearest to its own text's vector; what exactly it is, other checks ask.
    found = np.asarray(call("embed", MODEL, TOKENIZER, _texts(), 1))
    return found.shape == _vectors().shape and [int(((_vectors() - row) ** 2).sum(1).argmin()) for row in found] == list(range(len(found)))


@check("embed", "The last batch counts, even if it is not full.", hint="What happens to the texts that are left over?")
def embed_rest(call):
    return all(np.asarray(call("embed", MODEL, TOKENIZER, _texts(), size)).shape == _vectors().shape for size in (3, 4, 100))


@check("embed", "The size of the batches does not change the vectors.", hint="Compare batches of one with batches of many.")
def embed_sizes(call):
    return all(_near(call("embed", MODEL, TOKENIZER, _texts(), size), _vectors(), 1e-3) for size in (1, 2, 5))


@check("embed", "No text is no trouble.", hint="What has the right shape if there is nothing to stack?")
def embed_none(call):
    return np.asarray(call("embed", MODEL, TOKENIZER, [], 8)).shape == (0, _vectors().shape[1])


# 3. A head, trained -----------------------------------------------------------------------------------------------------------


def _task(seed, n=30, m=7, width=3, classes=3, shift=0.0):
    rng = np.random.default_rng(seed)
    labels = [int(label) for label in rng.integers(0, classes, n)]
    known = rng.normal(size=(n, width)) * (1 + np.arange(width)) + 2 + np.eye(classes, width)[labels]
    return known, labels, rng.normal(size=(m, width)) * 2 + 2 + shift, classes


def _probabilities(known, labels, new, classes, steps, rate):
    """The same by automatic differentiation and an optimizer, in double precision."""
    known, new = torch.tensor(known, dtype=torch.float64), torch.tensor(new, dtype=torch.float64)
    center, spread = known.mean(0), known.std(0, correction=0)
    spread[spread == 0] = 1
    head = torch.nn.Linear(known.shape[1], classes).double()
    torch.nn.init.zeros_(head.weight), torch.nn.init.zeros_(head.bias)
    optimizer = torch.optim.SGD(head.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(head((known - center) / spread), torch.tensor(labels)).backward()
        optimizer.step()
    return head((new - center) / spread).softmax(-1).detach().numpy()


@check(
    "head_probabilities", "What comes back are probabilities, one row a text.",
    hint="Is there a softmax, and does it run along the classes?",
)
def head_sums(call):
    found = np.asarray(call("head_probabilities", *_task(1), 20, 0.3))
    return found.shape == (7, 3) and bool((found > 0).all()) and _near(found.sum(1), np.ones(7))


@check("head_probabilities", "A head that has taken no step is undecided.", hint="All weights start at zero.")
def head_zero(call):
    return _near(call("head_probabilities", *_task(2, classes=5), 0, 0.3), np.full((7, 5), 0.2))


@check("head_probabilities", "The steps are those of gradient descent.", hint="Check the gradient by hand for two texts, and its sign.")
def head_steps(call):
    runs = [(*_task(3), steps, rate) for steps, rate in ((1, 0.5), (4, 0.1), (40, 0.4))]
    return all(_near(call("head_probabilities", *run), _probabilities(*run), 1e-4) for run in runs)


@check("head_probabilities", "The bias learns how frequent the classes are.", hint="The bias is moved in each step, too.")
def head_bias(call):
    # Vectors that tell nothing: what is left to learn is that class 1 has four labels in five.
    known, labels = np.tile([[1.0, -1.0], [-1.0, 1.0]], (10, 1)), [1, 1, 1, 1, 1, 1, 1, 1, 0, 0] * 2
    found = np.asarray(call("head_probabilities", known, labels, np.zeros((1, 2)), 2, 400, 0.5))
    return _near(found, [[0.2, 0.8]], 1e-2)


@check("head_probabilities", "New vectors are scaled as the known ones were.", hint="Whose mean and spread are subtracted and divided by?")
def head_scale(call):
    run = (*_task(5, m=6, shift=3.0), 25, 0.3)
    one = (*run[:2], run[2][:1], *run[3:])
    return _near(call("head_probabilities", *run), _probabilities(*run), 1e-4) and _near(
        call("head_probabilities", *one), _probabilities(*one), 1e-4)


@check(
    "head_probabilities", "A class without labels and a column without spread are no trouble.",
    hint="What do you divide by, and how many classes?",
)
def head_edges(call):
    known, labels, new, _ = _task(6, classes=2)
    known[:, 1], new[:, 1] = 4.0, [4.0, 5.0, 4.0, 3.0, 4.0, 4.0, 4.5]
    run = (known, labels, new, 4, 10, 0.2)
    return _near(call("head_probabilities", *run), _probabilities(*run), 1e-4)


@check("head_probabilities", "Large scores do not overflow.", hint="Subtract the greatest score of a row before you take exponentials.")
def head_large(call):
    known, labels, new, classes = _task(7)
    run = (known, labels, new * 1e5, classes, 5, 1.0)
    return _near(call("head_probabilities", *run), _probabilities(*run), 1e-4)


# 4. Does it mean what it says? ------------------------------------------------------------------------------------------------


def _answers(seed, n=200, classes=4, sharp=2.0):
    rng = np.random.default_rng(seed)
    weights = np.exp(rng.normal(size=(n, classes)) * sharp)
    return weights / weights.sum(1, keepdims=True), [int(label) for label in rng.integers(0, classes, n)]


def _error(probabilities, labels, bins):
    held = {}
    for row, label in zip(probabilities.tolist(), labels):
        sure = max(row)
        held.setdefault(min(math.floor(sure * bins), bins - 1), []).append((sure, row.index(sure) == label))
    total = 0.0
    for texts in held.values():
        total += abs(sum(sure for sure, _ in texts) - sum(right for _, right in texts))
    return total / len(labels)


@check("calibration_error", "The error is that of the formula.", hint="Compare with a loop over the texts, one bin at a time.")
def calibration_value(call):
    runs = [(*_answers(seed, classes=classes), bins) for seed, classes, bins in ((1, 4, 10), (2, 2, 7), (3, 6, 15))]
    return all(close(call("calibration_error", *run), _error(*run)) for run in runs)


@check(
    "calibration_error", "The confidence is that of the class named, right or wrong.",
    hint="The label says who is right, not how sure the head is.",
)
def calibration_named(call):
    return close(call("calibration_error", np.array([[0.75, 0.25]] * 4), [1, 1, 1, 1], 2), 0.75)


@check("calibration_error", "A bin counts by its texts.", hint="A bin with one text weighs less than one with many.")
def calibration_weights(call):
    probabilities = np.array([[0.97, 0.03]] * 9 + [[0.55, 0.45]])
    return close(call("calibration_error", probabilities, [0] * 9 + [1], 10), (9 * 0.03 + 0.55) / 10)


@check("calibration_error", "Too sure here and too timid there do not cancel.", hint="Take the distance in each bin before you add.")
def calibration_signs(call):
    probabilities = np.array([[0.625, 0.375]] * 8 + [[0.875, 0.125]] * 8)
    return close(call("calibration_error", probabilities, [0] * 8 + [0, 0, 0, 0, 0, 1, 1, 1], 4), (0.375 + 0.25) / 2)


@check("calibration_error", "Those who are quite sure belong to the last bin.", hint="Where does a confidence of exactly one land?")
def calibration_last(call):
    probabilities = np.array([[1.0, 0.0], [1.0, 0.0], [0.9375, 0.0625], [0.9375, 0.0625]])
    return close(call("calibration_error", probabilities, [0, 1, 0, 0], 4), (2 + 2 * 0.9375 - 3) / 4) and close(
        call("calibration_error", np.array([[0.0, 1.0]] * 3), [1, 1, 0], 10), 1 / 3)


@check(
    "calibration_error", "With one bin it is the distance of the two means; with none wrong it is zero.",
    hint="Try a single bin, and perfect answers.",
)
def calibration_ends(call):
    probabilities, labels = _answers(9)
    overall = abs(probabilities.max(1).mean() - np.mean(probabilities.argmax(1) == labels))
    return close(call("calibration_error", probabilities, labels, 1), overall) and close(
        call("calibration_error", np.eye(3), [0, 1, 2], 10), 0)


# 5. Few labels, and not clean -------------------------------------------------------------------------------------------------


@functools.lru_cache
def _draw(seed):
    from finetunelab.repurposing import mislabel
    from finetunelab.worlds.baseline import labelled

    (texts, labels), test = labelled("reviews", "topic", 96, "train", seed), labelled("reviews", "topic", 300, "test", seed)
    return (texts, mislabel(labels, 0.25, 6, seed), test[0]), np.array(test[1])


def _accuracy(call):
    if "accuracy" not in call.memory:
        shares = []
        for seed in (41_103, 41_177):
            given, truth = _draw(seed)
            answer = [number(label) for label in call("name_topics", *given, seconds=30)]
            if len(answer) != len(truth) or not set(answer) <= set(range(6)):
                raise ValueError
            shares.append(np.mean(np.array(answer) == truth))
        call.memory["accuracy"] = float(np.mean(shares))
    return call.memory["accuracy"]


@check(
    "name_topics", "There is a topic, from 0 to 5, for each review.",
    hint="One whole number for each, in their order, within thirty seconds.",
)
def topics_form(call):
    return _accuracy(call) >= 0


@check("name_topics", "It is well above guessing.", hint="Does a text's vector mean the same for those with labels and those without?")
def topics_some(call):
    return _accuracy(call) >= 0.45


@check(
    "name_topics", "It makes more of few labels than counting words does.",
    hint="Try the layers of the larger base, on reviews that you set aside.",
)
def topics_well(call):
    return _accuracy(call) >= 0.62


@check(
    "name_topics", "Wrong labels hardly harm it.",
    hint="Hold the head back, or average: who cannot bend cannot follow a wrong label.", points=2,
)
def topics_very_well(call):
    return _accuracy(call) >= 0.70
