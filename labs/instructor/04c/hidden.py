"""Hidden checks of 04c. They know the answers by another road than the solution: by hand, by listing all choices, or by a property."""

import itertools
import math

import numpy as np
import torch

from finetunelab.grading.checks import check, close, number
from finetunelab.grading.examiner import Failed


def _refused(call, *arguments):
    """Whether a call of a hand-in's function stops with a ValueError."""
    try:
        call(*arguments)
    except Failed as problem:
        if "ValueError" in str(problem):
            return True
        raise
    return False


def _list(found):
    """Return what a hand-in returned as an array, a tensor, or a list, as a list of plain numbers."""
    return found.tolist() if isinstance(found, np.ndarray | torch.Tensor) else list(found)


def _numbers(found, expected, within=1e-6):
    """Whether a hand-in returned these numbers."""
    values = _list(found)
    return len(values) == len(expected) and all(close(value, wanted, within) for value, wanted in zip(values, expected, strict=True))


# 1. Better than its neighbors --------------------------------------------------------------------------------------------------


def _scores(seed, requests, group):
    """Scores whose level and spread differ from request to request."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(requests, 1)) * 4 + rng.normal(size=(requests, group)) * rng.uniform(0.2, 3, size=(requests, 1))).ravel().tolist()


def _relative(scores, group, method):
    found = []
    for start in range(0, len(scores), group):
        own = scores[start : start + group]
        for i, score in enumerate(own):
            others = own[:i] + own[i + 1 :]
            if method == "rloo":
                found.append(score - sum(others) / len(others))
            else:
                mean = sum(own) / group
                spread = math.sqrt(sum((value - mean) ** 2 for value in own) / group)
                found.append((score - mean) / spread if spread else 0.0)
    return found


@check("relative", "RLOO compares a score with the mean of the others.", hint="Is a response one of its own neighbors?")
def relative_rloo(call):
    return all(
        _numbers(call("relative", _scores(seed, 5, group), group, "rloo"), _relative(_scores(seed, 5, group), group, "rloo"))
        for seed, group in ((0, 2), (1, 4), (2, 7))
    )


@check("relative", "GRPO measures in standard deviations of the group.", hint="What is the deviation taken over, and divided by what?", points=2)
def relative_grpo(call):
    return all(
        _numbers(call("relative", _scores(seed, 5, group), group, "grpo"), _relative(_scores(seed, 5, group), group, "grpo"))
        for seed, group in ((3, 2), (4, 4), (5, 7))
    )


@check("relative", "A group in which all score alike teaches nothing.", hint="What is zero divided by zero? And one tenth three times, less its mean?")
def relative_equal(call):
    # The mean of three times a tenth is not quite a tenth: a spread of rounding errors is no spread.
    scores = [0.1, 0.1, 0.1, 1, 2, 6]
    return _numbers(call("relative", scores, 3, "grpo"), _relative([0] * 3 + [1, 2, 6], 3, "grpo")) and _numbers(
        call("relative", [7, 7], 2, "rloo"), [0, 0])


@check("relative", "Groups that are none are refused.", hint="One response has no neighbors.")
def relative_refused(call):
    return _refused(call, "relative", [1.0, 2.0], 1, "rloo") and _refused(call, "relative", [1.0, 2.0, 3.0], 2, "grpo") and _numbers(
        call("relative", [1.0, 2.0], 2, "rloo"), [-1, 1])


# 2. The loss of DPO, and where it pushes ---------------------------------------------------------------------------------------


def _pairs(seed, n, scale=3.0):
    rng = np.random.default_rng(seed)
    return [rng.normal(-40, scale, size=n) for _ in range(4)]


def _dpo(arrays, beta):
    """The same by PyTorch's derivatives."""
    chosen, rejected, *reference = (torch.tensor(values, dtype=torch.float64) for values in arrays)
    chosen.requires_grad_(), rejected.requires_grad_()
    loss = -torch.nn.functional.logsigmoid(beta * (chosen - reference[0]) - beta * (rejected - reference[1])).mean()
    loss.backward()
    return loss.item(), chosen.grad.tolist(), rejected.grad.tolist()


@check("dpo", "The loss is that of implicit rewards, as a mean over pairs.", hint="Which four numbers make the lead of a pair?", points=2)
def dpo_value(call):
    return all(close(call("dpo", *_pairs(seed, 6), beta)[0], _dpo(_pairs(seed, 6), beta)[0]) for seed, beta in ((0, 0.1), (1, 0.5), (2, 2.0)))


@check("dpo", "The chosen response becomes likelier, and the rejected one rarer.", hint="Gradient descent goes against the gradient.")
def dpo_signs(call):
    # Asked of a single pair, where every way to average is the same.
    _, *gradients = call("dpo", *_pairs(7, 1), 0.3)
    [chosen], [rejected] = map(_list, gradients)
    return number(chosen) < 0 < number(rejected) and close(chosen + rejected, 0)


@check("dpo", "The gradients are those of the mean loss.", hint="Differentiate by hand, and compare with a small step.", points=2)
def dpo_gradients(call):
    for seed, n, beta in ((3, 1, 0.1), (4, 5, 0.7), (5, 8, 2.0)):
        _, chosen, rejected = call("dpo", *_pairs(seed, n), beta)
        _, *wanted = _dpo(_pairs(seed, n), beta)
        if not (_numbers(chosen, wanted[0]) and _numbers(rejected, wanted[1])):
            return False
    return True


@check("dpo", "Large differences give numbers.", hint="Which exponential grows without bound? NumPy has a function for the logarithm of a sum.", points=2)
def dpo_large(call):
    far = [np.array([-20_000.0, -10.0, -5.0]), np.array([-10.0, -30_000.0, -5.0]), np.full(3, -10.0), np.full(3, -10.0)]
    loss, chosen, rejected = call("dpo", *far, 1.0)
    wanted = (19_990 + math.log(2)) / 3
    return close(loss, wanted) and _numbers(chosen, [-1 / 3, 0, -1 / 6]) and _numbers(rejected, [1 / 3, 0, 1 / 6])


# 3. Best of n, from more than n ------------------------------------------------------------------------------------------------


def _best_of(proxy, truth, n):
    """The same by going through all choices."""
    values = []
    for places in itertools.combinations(range(len(proxy)), n):
        top = max(proxy[i] for i in places)
        tied = [truth[i] for i in places if proxy[i] == top]
        values.append(sum(tied) / len(tied))
    return sum(values) / len(values)


def _scored(seed, total, levels=None):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=total)
    proxy = truth + rng.normal(size=total)
    return (np.round(proxy) if levels else proxy), truth


@check("best_of_n", "The best of one is the mean, and the best of all is the best.", hint="What are the two ends?")
def best_ends(call):
    proxy, truth = _scored(0, 9)
    return close(call("best_of_n", proxy, truth, 1), truth.mean()) and close(call("best_of_n", proxy, truth, 9), truth[proxy.argmax()])


@check("best_of_n", "All choices of n different responses count.", hint="A response is not put back after it was drawn.", points=2)
def best_choices(call):
    return all(
        close(call("best_of_n", *_scored(seed, total), n), _best_of(*_scored(seed, total), n)) for seed, total, n in ((1, 6, 3), (2, 9, 4), (3, 10, 8))
    )


@check("best_of_n", "Responses with equal scores share what is theirs.", hint="Does the order in which they stand change your answer?", points=2)
def best_ties(call):
    for seed, total, n in ((4, 7, 3), (5, 9, 2), (6, 8, 7)):
        proxy, truth = _scored(seed, total, levels=True)
        # Listing all choices gives every tied response its share of each choice; the mean over them is the same by symmetry.
        if not close(call("best_of_n", proxy, truth, n), _best_of(proxy.tolist(), truth.tolist(), n)):
            return False
    return True


@check("best_of_n", "Many responses are no trouble.", hint="Do not list the choices; count them.")
def best_many(call):
    proxy, truth = _scored(8, 200)
    order = np.argsort(proxy)
    wanted = sum(truth[place] * math.comb(rank, 39) / math.comb(200, 40) for rank, place in enumerate(order))
    return close(call("best_of_n", proxy, truth, 40), wanted)


@check("best_of_n", "An n that the responses cannot give is refused.", hint="From one to how many?")
def best_refused(call):
    proxy, truth = _scored(9, 5)
    return _refused(call, "best_of_n", proxy, truth, 0) and _refused(call, "best_of_n", proxy, truth, 6) and close(
        call("best_of_n", proxy[:1], truth[:1], 1), truth[0])


# 4. Is that a peak? ------------------------------------------------------------------------------------------------------------


def _worth(means, n=6):
    """Checkpoints with the given means of the even and of the odd requests, and requests that differ among themselves."""
    even, odd = (np.array(values, dtype=float)[:, None] for values in zip(*means, strict=True))
    spread = np.linspace(-0.3, 0.3, n)
    worth = np.empty((len(means), 2 * n))
    worth[:, ::2], worth[:, 1::2] = even + spread, odd - spread
    return worth


@check("drop", "The drop is a share of the gain.", hint="Try it where both halves say the same.")
def drop_plain(call):
    return close(call("drop", _worth([(0.2, 0.2), (0.6, 0.6), (1.0, 1.0), (0.8, 0.8)])), 0.25)


@check("drop", "The peak is picked on one half and measured on the other.", hint="Which half knows where the peak is, and which one says how high?", points=2)
def drop_halves(call):
    # Even requests peak at 1 and say 2 for the odd ones' peak; odd requests peak at 2.
    worth = _worth([(0.1, 0.3), (0.9, 0.5), (0.7, 0.8), (0.3, 0.6)])
    gain, lost = (0.5 - 0.3) + (0.7 - 0.1), (0.5 - 0.6) + (0.7 - 0.3)
    return close(call("drop", worth), lost / gain)


@check("drop", "Both directions count, by their sums.", hint="Add up before you divide.")
def drop_sums(call):
    worth = _worth([(0.0, 0.0), (1.0, 0.2), (0.4, 0.1)])
    return close(call("drop", worth), ((0.2 - 0.1) + (1.0 - 0.4)) / (0.2 + 1.0))


@check("drop", "A run that ends at its peak has lost nothing.", hint="The last checkpoint may be the best, and two may be equal.")
def drop_end(call):
    rising, level = _worth([(0.1, 0.2), (0.5, 0.4), (0.9, 0.7)]), _worth([(0.1, 0.1), (0.6, 0.8), (0.6, 0.8), (0.3, 0.2)])
    # Unequal twins: the first of equals is the peak, and the halves disagree about what the second is worth.
    twins = _worth([(0.0, 0.0), (0.5, 0.25), (0.5, 0.5), (0.25, 0.25)])
    wanted = ((0.25 - 0.25) + (0.5 - 0.25)) / (0.25 + 0.5)
    return close(call("drop", rising), 0) and close(call("drop", level), (0.6 + 0.3) / (0.7 + 0.5)) and close(call("drop", twins), wanted)


@check("drop", "Without a gain there is no share of it.", hint="What if training only did harm?")
def drop_nan(call):
    return math.isnan(number(call("drop", _worth([(0.9, 0.9), (0.5, 0.4), (0.2, 0.1)])))) and close(
        call("drop", _worth([(0.5, 0.5), (1.0, 1.0)])), 0)


# 5. Five judges, none of them good ---------------------------------------------------------------------------------------------


def _judges(seed, requests=400, candidates=32):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(requests, candidates))
    scores = np.empty((requests, candidates, 5))
    for judge, noise in enumerate(rng.permutation([0.9, 1.0, 1.1, None, None])):
        said = rng.normal(size=truth.shape) * (noise or 1.4) + (0 if noise is None else truth)
        said += 8 * (rng.random(truth.shape) < 0.03)
        scale = rng.choice([0.2, 1.0, 5.0]) if noise else 5.0
        scores[..., judge] = scale * said + rng.normal(0, 10)
    return scores, truth


def _picked(call):
    if "picked" not in call.memory:
        found = []
        for seed in (51_207, 51_288):
            scores, truth = _judges(seed)
            places = [number(place) for place in _list(call("pick", scores))]
            if len(places) != len(truth) or not set(places) <= set(range(truth.shape[1])):
                raise ValueError
            found.append(truth[np.arange(len(truth)), np.array(places, dtype=int)].mean())
        call.memory["picked"] = sum(found) / len(found)
    return call.memory["picked"]


@check("pick", "There is one candidate for each request.", hint="Return whole numbers from zero, as many as there are requests.")
def pick_form(call):
    return math.isfinite(_picked(call))


@check("pick", "Several judges do better than one.", hint="Bring them to one scale first. Which one is loudest?")
def pick_some(call):
    return _picked(call) >= 0.8


@check("pick", "A single enthusiastic judge does not decide.", hint="Medians, ranks, or limits: what does an outlier do to each?")
def pick_well(call):
    return _picked(call) >= 1.2


@check("pick", "Judges who know nothing have little say.", hint="Those who know something agree with one another.", points=2)
def pick_very_well(call):
    return _picked(call) >= 1.55
