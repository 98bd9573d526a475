"""Hidden checks of 04b. They know the answers by another road than the solution: by hand, by the sum that defines them, or by a property."""

import math
import random

import torch

from finetunelab.grading.checks import check, close, number

FAR = 1e3  # stands where nothing counts


def _placed(rows, begins, width, filling=FAR):
    """Lay rows of numbers into wider ones, each behind a request of its own length; the mask comes with them."""
    found, mask = torch.full((len(rows), width), filling, dtype=torch.float64), torch.zeros(len(rows), width, dtype=torch.bool)
    for i, (row, begin) in enumerate(zip(rows, begins, strict=True)):
        found[i, begin : begin + len(row)] = torch.tensor(row, dtype=torch.float64)
        mask[i, begin : begin + len(row)] = True
    return found, mask


def _drawn(seed, lengths, low=-2.0, high=2.0):
    rng = random.Random(seed)
    return [[rng.uniform(low, high) for _ in range(length)] for length in lengths]


def _tensor(found, shape):
    """A hand-in's tensor in double precision; an error for anything else, and for another shape."""
    if type(found) is not torch.Tensor or tuple(found.shape) != tuple(shape):
        raise TypeError("no such tensor")
    return found.double()


def _equal(found, expected, within=1e-5):
    return bool(torch.allclose(found, torch.as_tensor(expected, dtype=torch.float64), rtol=0, atol=within))


# 1. The reward of each token ---------------------------------------------------------------------------------------------------

LENGTHS, BEGINS, WIDTH = [4, 1, 3], [1, 3, 3], 6


def _rewarded(call, scores, weight, seed=5, filling=0.0):
    """The rewards of three responses, and for each of their tokens log p - log q."""
    p, q = _drawn(seed, LENGTHS, -3, 0), _drawn(seed + 1, LENGTHS, -3, 0)
    (log_p, mask), (log_q, _) = _placed(p, BEGINS, WIDTH, filling), _placed(q, BEGINS, WIDTH, -2 * filling)
    found = _tensor(call("token_rewards", torch.tensor(scores, dtype=torch.float64), log_p, log_q, mask, weight), mask.shape)
    return found, mask, [[a - b for a, b in zip(*rows, strict=True)] for rows in zip(p, q, strict=True)]


@check("token_rewards", "Each token is charged for being likelier than under the reference.", hint="Which sign has a charge?", points=2)
def rewards_charge(call):
    found, mask, d = _rewarded(call, [0.0, 0.0, 0.0], 0.3)
    return _equal(found[mask], [-0.3 * value for row in d for value in row])


@check("token_rewards", "The score is paid once, at the last token of the response.", hint="Where does a response end that is shorter than others?", points=2)
def rewards_score(call):
    found, *_ = _rewarded(call, [1.5, -2.0, 0.5], 0.0)
    expected = torch.zeros(3, WIDTH, dtype=torch.float64)
    expected[0, 4], expected[1, 3], expected[2, 5] = 1.5, -2.0, 0.5
    return _equal(found, expected)


@check("token_rewards", "The last token is charged too.", hint="Score and charge stand there together.")
def rewards_both(call):
    found, _, d = _rewarded(call, [1.5, -2.0, 0.5], 0.3)
    return _equal(found[[0, 1, 2], [4, 3, 5]], [1.5 - 0.3 * d[0][-1], -2.0 - 0.3 * d[1][-1], 0.5 - 0.3 * d[2][-1]])


@check("token_rewards", "Requests and padding have no reward, whatever stands there.", hint="Look at the mask before you add up.")
def rewards_mask(call):
    found, mask, _ = _rewarded(call, [1.0, 1.0, 1.0], 0.3, filling=FAR)
    return _equal(found[~mask], [0.0] * int((~mask).sum()))


# 2. Two estimates of the KL ----------------------------------------------------------------------------------------------------


def _kl(call, p, q, begins=None, width=None, filling=0.0):
    begins, width = begins or [0] * len(p), width or len(p[0])
    (log_p, mask), (log_q, _) = _placed(p, begins, width, filling), _placed(q, begins, width, -filling)
    found = call("kl_estimates", log_p, log_q, mask)
    if type(found) not in (tuple, list) or len(found) != 2:
        raise TypeError("no pair")
    return [_tensor(value, (len(p),)) for value in found]


def _counts(p, q, total):
    """One row in which each word stands as often as p says, with its log-probabilities; and the KL."""
    words = [i for i, share in enumerate(p) for _ in range(round(share * total))]
    return [[math.log(p[i]) for i in words]], [[math.log(q[i]) for i in words]], sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@check("kl_estimates", "The plain estimates are added up over each response.", hint="One number a response: the sum, not the mean.")
def kl_plain(call):
    p, q = _drawn(11, [4, 4], -3, 0), _drawn(12, [4, 4], -3, 0)
    return _equal(_kl(call, p, q)[0], [sum(a) - sum(b) for a, b in zip(p, q, strict=True)])


@check("kl_estimates", "Over tokens that come as often as the policy says, the third estimate has the KL for its mean.", hint="Which way up is the ratio?", points=2)
def kl_third(call):
    p, q, kl = _counts([0.5, 0.25, 0.125, 0.125], [0.1, 0.2, 0.3, 0.4], 8)
    single, other = _kl(call, [[-1.0]], [[-2.0]])[1], _kl(call, [[-2.0]], [[-1.0]])[1]
    return _equal(_kl(call, p, q)[1] / 8, [kl]) and _equal(single, [math.exp(-1)]) and _equal(other, [math.e - 2])


@check("kl_estimates", "The third estimate is never below zero, the plain one may be.", hint="Try a token that has become rarer.")
def kl_sign(call):
    p, q = _drawn(13, [1] * 40, -3, 0), _drawn(14, [1] * 40, -3, 0)
    plain, third = _kl(call, p, q)
    return bool((third >= 0).all()) and bool((plain < 0).any()) and _equal(_kl(call, p, p)[1], [0.0] * 40)


@check("kl_estimates", "Nothing outside a response is counted, however large.", hint="Take it out before the exponential: infinity times zero is not zero.")
def kl_mask(call):
    p, q = _drawn(15, LENGTHS, -3, 0), _drawn(16, LENGTHS, -3, 0)
    plain, third = _kl(call, p, q, BEGINS, WIDTH, -FAR)
    alone = [_kl(call, [a], [b]) for a, b in zip(p, q, strict=True)]
    return _equal(plain, [float(a) for a, _ in alone]) and _equal(third, [float(b) for _, b in alone])


# 3. Advantages -----------------------------------------------------------------------------------------------------------------


def _defined(r, v, gamma, lam):
    """The advantages of one response, by the sum that defines them."""
    after, n = [*v[1:], 0.0], len(r)
    delta = [r[t] + gamma * after[t] - v[t] for t in range(n)]
    return [sum((gamma * lam) ** (k - t) * delta[k] for k in range(t, n)) for t in range(n)]


def _advantages(call, r, v, gamma, lam, begins=None, width=None, filling=0.0):
    begins, width = begins or [0] * len(r), width or len(r[0])
    (rewards, mask), (values, _) = _placed(r, begins, width, filling), _placed(v, begins, width, -filling)
    found = call("gae", rewards, values, mask, gamma, lam)
    if type(found) not in (tuple, list) or len(found) != 2:
        raise TypeError("no pair")
    return [_tensor(value, mask.shape) for value in found], mask


def _matches(call, gamma, lam, seed, lengths=(5, 5)):
    r, v = _drawn(seed, lengths), _drawn(seed + 1, lengths)
    (found, _), _ = _advantages(call, r, v, gamma, lam)
    return _equal(found, [_defined(a, b, gamma, lam) for a, b in zip(r, v, strict=True)])


@check("gae", "With lambda zero only the next step counts.", hint="What is left of the sum?")
def gae_zero(call):
    return _matches(call, 0.9, 0.0, 21)


@check("gae", "With lambda and gamma one, the advantage is all that is still to come, less the value.", hint="Add up the deltas by hand for three tokens.")
def gae_one(call):
    return _matches(call, 1.0, 1.0, 23)


@check("gae", "In between, later deltas count less, by gamma and by lambda.", hint="Go from the last token back to the first.", points=2)
def gae_between(call):
    return _matches(call, 0.9, 0.5, 25) and _matches(call, 1.0, 0.95, 27) and _matches(call, 0.8, 1.0, 29)


@check("gae", "The returns are what the value head should have said.", hint="Advantages are measured from the values.")
def gae_returns(call):
    r, v = _drawn(31, [5]), _drawn(32, [5])
    (_, returns), _ = _advantages(call, r, v, 0.9, 0.5)
    expected = [a + b for a, b in zip(_defined(r[0], v[0], 0.9, 0.5), v[0], strict=True)]
    return _equal(returns, [expected])


@check("gae", "Nothing is expected after the last token of a response.", hint="The values in the padding mean nothing.")
def gae_end(call):
    r, v = _drawn(33, LENGTHS), _drawn(34, LENGTHS)
    (found, _), mask = _advantages(call, r, v, 0.9, 0.5, BEGINS, WIDTH, FAR)
    return _equal(found[mask], [value for a, b in zip(r, v, strict=True) for value in _defined(a, b, 0.9, 0.5)])


@check("gae", "Requests and padding have neither advantages nor returns.", hint="The sum runs on to the left of a response, if you let it.")
def gae_outside(call):
    r, v = _drawn(35, LENGTHS), _drawn(36, LENGTHS)
    both, mask = _advantages(call, r, v, 0.9, 0.5, BEGINS, WIDTH)
    return all(_equal(found[~mask], [0.0] * int((~mask).sum())) for found in both)


# 4. The clipped loss -----------------------------------------------------------------------------------------------------------


def _loss(call, ratios, advantages, clip=0.2, begins=None, width=None, filling=0.0):
    begins, width = begins or [0] * len(ratios), width or len(ratios[0])
    old = _drawn(41, [len(row) for row in ratios], -3, -1)
    new = [[b + math.log(ratio) for b, ratio in zip(*rows, strict=True)] for rows in zip(old, ratios, strict=True)]
    (log_p, mask), (old_log_p, _) = _placed(new, begins, width, filling), _placed(old, begins, width, -filling)
    return call("policy_loss", log_p, old_log_p, _placed(advantages, begins, width, filling)[0], mask, clip)


@check("policy_loss", "Before the policy has changed, it is minus the mean advantage.", hint="A loss goes down when the objective goes up.")
def loss_start(call):
    return close(_loss(call, [[1.0, 1.0, 1.0]], [[1.0, 2.0, 6.0]]), -3.0)


@check("policy_loss", "What was good earns nothing beyond the clip.", hint="By how much may a token become likelier?")
def loss_good(call):
    return close(_loss(call, [[1.1]], [[2.0]]), -2.2) and close(_loss(call, [[1.7]], [[2.0]]), -2.4) and close(_loss(call, [[1.7]], [[2.0]], 0.5), -3.0)


@check("policy_loss", "What was bad saves nothing beyond the clip.", hint="Work out both terms for a negative advantage, and take the smaller.")
def loss_bad(call):
    return close(_loss(call, [[0.9]], [[-2.0]]), 1.8) and close(_loss(call, [[0.3]], [[-2.0]]), 1.6)


@check("policy_loss", "A change in the wrong direction is not clipped.", hint="The smaller of two terms: which one is it there?")
def loss_wrong(call):
    return close(_loss(call, [[0.3]], [[2.0]]), -0.6) and close(_loss(call, [[1.7]], [[-2.0]]), 3.4)


@check("policy_loss", "All tokens of the batch count the same.", hint="A mean over tokens is not a mean over responses.")
def loss_mean(call):
    # Without padding among them the batch would have responses of one length, so the mask is needed for this.
    return close(_loss(call, [[1.0, 1.0, 1.0], [1.0]], [[1.0, 1.0, 1.0], [5.0]], begins=[0, 0], width=3), -2.0)


@check("policy_loss", "Requests and padding are not in the mean, whatever stands there.", hint="Pick the tokens out before the exponential.")
def loss_mask(call):
    ratios, advantages = [[1.1, 1.5], [0.5]], [[2.0, 1.0], [1.0]]
    return close(_loss(call, ratios, advantages, begins=[1, 2], width=4, filling=FAR), -(2.2 + 1.2 + 0.5) / 3)


# 5. Buttons that you do not see -------------------------------------------------------------------------------------------------


def _play(call, pays, weight=0.0, start=None, reference=None, steps=60, presses=16, seeds=(61, 62, 63)):
    """The final probabilities of the buttons, a mean over runs; a table that is none is an error."""
    pays, ends = torch.tensor(pays, dtype=torch.float64), []
    reference = reference or [0.0] * len(pays)
    for seed in seeds:
        generator, table = torch.Generator().manual_seed(seed), list(start or reference)
        for _ in range(steps):
            chances = torch.tensor(table, dtype=torch.float64).softmax(0)
            pressed = torch.multinomial(chances, presses, replacement=True, generator=generator)
            paid = pays[pressed] + torch.randn(presses, generator=generator, dtype=torch.float64)
            table = [number(value) for value in call("improve", table, list(reference), pressed.tolist(), paid.tolist(), weight)]
            if len(table) != len(pays) or not all(map(math.isfinite, table)):
                raise ValueError
        ends.append(torch.tensor(table, dtype=torch.float64).softmax(0))
    return torch.stack(ends).mean(0)


def _near(found, pays, weight, reference, within):
    """Whether the probabilities differ from the best ones by at most ``within``, added up over the buttons and halved."""
    best = (torch.tensor(reference, dtype=torch.float64) + torch.tensor(pays, dtype=torch.float64) / weight).softmax(0)
    return float((found - best).abs().sum()) / 2 <= within


@check("improve", "The best of the buttons is found.", hint="Make likelier what paid more than expected.", points=2)
def improve_finds(call):
    return float(_play(call, [0.5, -0.5])[0]) > 0.85 and float(_play(call, [0.0, 1.0, 2.0])[2]) > 0.8


@check("improve", "A constant added to all that is paid changes nothing.", hint="What did a press pay, compared with the others?")
def improve_shifted(call):
    return float(_play(call, [50.0, 51.0])[1]) > 0.85 and float(_play(call, [-50.0, -51.0])[0]) > 0.85


@check("improve", "With a moderate weight the policy ends at the best compromise.", hint="Charge each press for being likelier than under the reference.")
def improve_balance(call):
    pays, reference = [0.0, 1.0, 2.0], [0.5, 0.0, -0.5]
    return _near(_play(call, pays, 1.0, reference=reference), pays, 1.0, reference, 0.1)


@check("improve", "With a large weight the policy goes to the reference, and stays near it.", hint="The larger the charge, the smaller a step has to be.", points=2)
def improve_held(call):
    pays, reference = [0.0, 1.0], [1.5, 0.0]
    found = [_play(call, pays, 5.0, start, reference, seeds=[seed]) for start in ([-1.0, 1.0], [1.5, 0.0]) for seed in (71, 72)]
    return all(_near(one, pays, 5.0, reference, 0.1) for one in found)
