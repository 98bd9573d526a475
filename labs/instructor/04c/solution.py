# %% title [markdown]
# # 04c Over-optimization: exercises
#
# Five functions around the question how far a score can be trusted. The first four take five to fifteen lines each; the last one is
# open. Nothing is trained here, and no language model is needed: only numbers.
#
# **How it works.** Replace each line `raise NotImplementedError(...)` by your code and run the cell. The cell below it checks some of
# what is asked for; if it stays silent, go on. Hand in this notebook. It is then asked more questions than you see here, such as edge
# cases and random inputs. The points stand behind each title, 30 in all.
#
# Keep the names and the arguments of the functions. You may add cells, imports and functions of your own. Each exercise is marked by
# itself: one that fails costs nothing elsewhere.

# %% imports
import math

import numpy as np

# %% relative-text [markdown]
# ## 1. Better than its neighbors (5 points)
#
# PPO asks a value head what score to expect. GRPO and RLOO ask the other responses to the same request.
#
# Write `relative(scores, group, method)`. `scores` is a list of numbers: the first `group` of them belong to the responses to the first
# request, the next `group` to those to the second, and so on. Return an array of as many advantages:
#
# - `"rloo"`: the score less the mean of the *other* scores of its group;
# - `"grpo"`: the score less the mean of *all* scores of its group, divided by their standard deviation (the root of the mean squared
#   distance from the mean). Where all scores of a group are equal, its advantages are 0.
#
# Raise a `ValueError` if a group has fewer than two responses, or if the scores do not make whole groups. Scores may be integers.

# %% relative
def relative(scores, group, method):
    """Return by how much each score is better than those of the other responses to its request."""
    ### BEGIN SOLUTION
    if group < 2 or len(scores) % group:
        raise ValueError(f"{len(scores)} scores do not make groups of {group}")
    grouped = np.asarray(scores, dtype=float).reshape(-1, group)
    above = grouped - grouped.mean(1, keepdims=True)
    if method == "rloo":
        found = above * group / (group - 1)  # the mean of the others leaves out the score itself
    else:
        same = grouped.max(1, keepdims=True) == grouped.min(1, keepdims=True)
        found = np.where(same, 0.0, above / np.where(same, 1.0, grouped.std(1, keepdims=True)))
    return found.ravel()
    ### END SOLUTION

# %% relative-check
assert np.allclose(relative([1, 3, 5, 0, 0, 3], 3, "rloo"), [-3, 0, 3, -1.5, -1.5, 3])
assert np.allclose(relative([1, 3, 2, 2], 2, "grpo"), [-1, 1, 0, 0])

# %% dpo-text [markdown]
# ## 2. The loss of DPO, and where it pushes (7 points)
#
# Write `dpo(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta)`. The first four are arrays of shape (pairs,): the
# log-probabilities of whole responses in nats. The implicit reward of a response is `beta` times the log-probability under the policy less
# that under the reference, and the loss of a pair is $-\log \sigma$ of the chosen one's implicit reward less the rejected one's.
#
# Return three things: the mean loss over the pairs, and the gradient of that mean by `policy_chosen` and by `policy_rejected`, two arrays
# of shape (pairs,). Work the gradient out on paper: no automatic differentiation is needed. Think about the signs before you run it. In
# which direction does a step of gradient descent move either of the two?
#
# Log-probabilities of responses can be large: differences of ten thousand nats must give neither `inf` nor `nan`, nor a warning.

# %% dpo
def dpo(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    """Return the mean loss, and its gradients by the two log-probabilities under the policy."""
    ### BEGIN SOLUTION
    policy_chosen, policy_rejected = np.asarray(policy_chosen, dtype=float), np.asarray(policy_rejected, dtype=float)
    lead = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    loss = np.logaddexp(0.0, -lead)  # -log sigmoid(lead)
    wrong = np.exp(-np.logaddexp(0.0, lead))  # sigmoid(-lead): how wrong the policy still is about the pair
    push = beta * wrong / len(lead)
    return float(loss.mean()), -push, push
    ### END SOLUTION

# %% dpo-check
loss, up, down = dpo(np.array([-4.0, -9.0]), np.array([-6.0, -5.0]), np.array([-4.0, -9.0]), np.array([-6.0, -5.0]), 0.5)
assert abs(loss - math.log(2)) < 1e-9  # policy and reference agree: no reward leads
assert np.allclose(up, -0.125) and np.allclose(down, 0.125)

# %% best-text [markdown]
# ## 3. Best of n, from more than n (7 points)
#
# You have sampled N responses to a request, and scored them by a proxy and by the truth. What would the best of n by the proxy be worth on
# average, for an n up to N? To draw n of them once gives a noisy answer. Taking *all* choices of n different ones gives the average over
# draws at once, and there is no need to go through them.
#
# Write `best_of_n(proxy, truth, n)`. Both are arrays of shape (N,). Return the mean, over all choices of n different responses out of the
# N, of the truth of the response that is best by the proxy. Where several of the chosen share the best proxy, each of them is as likely to
# be kept: their truths count equally. (So responses that score alike can trade places, and nothing changes.) Raise a `ValueError` if n is
# not from 1 to N.
#
# N may be 200: there are far too many choices to list. How many choices have the response of rank j as their best?

# %% best
def best_of_n(proxy, truth, n):
    """Return the mean truth of the best by proxy, over all choices of n responses."""
    ### BEGIN SOLUTION
    proxy, truth = np.asarray(proxy, dtype=float), np.asarray(truth, dtype=float)
    total = len(proxy)
    if not 1 <= n <= total:
        raise ValueError(f"the best of {n} cannot be told from {total} responses")
    found = 0.0
    for value in np.unique(proxy):
        below, upto = int((proxy < value).sum()), int((proxy <= value).sum())
        # Choices from those up to this value, less those that have none of this value.
        share = (math.comb(upto, n) - math.comb(below, n)) / math.comb(total, n)
        found += share * truth[proxy == value].mean()
    return float(found)
    ### END SOLUTION

# %% best-check
assert abs(best_of_n(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 0.5]), 2) - (1.0 + 0.5 + 0.5) / 3) < 1e-9
assert abs(best_of_n(np.array([5.0, 5.0, 1.0]), np.array([1.0, 0.0, 0.2]), 3) - 0.5) < 1e-9

# %% drop-text [markdown]
# ## 4. Is that a peak? (6 points)
#
# `worth[i, j]` is what the response of checkpoint `i` to request `j` is worth, an array of shape (checkpoints, requests). Checkpoint 0 is
# where training started, the last one where it ended. Somebody points at the best checkpoint and says that after it the truth fell. But
# the best of several noisy means is partly luck, and luck does not last: there would be a drop if nothing had happened.
#
# Write `drop(worth)`. Requests are split into two halves: those at even places (0, 2, ...) and those at odd ones.
#
# - Find the peak on the even half: the checkpoint with the highest mean there, the first of equals. On the *odd* half, take the gain
#   (mean at the peak less mean at the start) and the drop (mean at the peak less mean at the end).
# - Do the same with the halves exchanged.
# - Return the sum of the two drops divided by the sum of the two gains. If that sum of gains is not above zero, nothing was gained that
#   could be lost: return `nan`.
#
# The peak may be anywhere: at the end, and then the drop is 0, or at the start.

# %% drop
def drop(worth):
    """Return the share of the gain that was lost again, with the peak picked on one half of the requests and measured on the other."""
    ### BEGIN SOLUTION
    worth = np.asarray(worth, dtype=float)
    halves = worth[:, ::2].mean(1), worth[:, 1::2].mean(1)
    gain = lost = 0.0
    for picked, measured in (halves, halves[::-1]):
        peak = int(picked.argmax())
        gain += measured[peak] - measured[0]
        lost += measured[peak] - measured[-1]
    return float(lost / gain) if gain > 0 else math.nan
    ### END SOLUTION

# %% drop-check
assert abs(drop(np.array([[0.0, 0.0], [0.8, 0.4], [0.6, 0.8]])) - (-0.4 + 0.0) / (0.4 + 0.6)) < 1e-9
rng = np.random.default_rng(0)
level = np.array([0.5] + [0.9] * 9)  # it rises once, and stays: no overoptimization at all
flat = [level[:, None] + rng.normal(0, 0.4, size=(10, 80)) for _ in range(400)]
means = [worth.mean(1) for worth in flat]
naive = [(mean.max() - mean[-1]) / (mean.max() - mean[0]) for mean in means]
print(f"nothing falls; on the same requests the drop seems to be {np.mean(naive):.2f} of the gain, across halves {np.mean([drop(w) for w in flat]):.2f}")

# %% pick-text [markdown]
# ## 5. Five judges, none of them good (5 points)
#
# A single reward model is wrong somewhere, and the best of n finds out where. Several that are wrong in *different* places are harder to
# fool. You get five. Each gives scores on a scale of its own, with a zero of its own. Each is noisy, and now and then it is very
# enthusiastic about a response for no reason. And not all five need be worth listening to.
#
# Write `pick(scores)`. `scores` is an array of shape (requests, candidates, 5). Return the place of one candidate for each request, as
# whole numbers. You do not get the truth. It is marked by the mean truth of your picks, in standard deviations above the mean candidate,
# on two other draws. There is a point for an answer in the right form, one for 0.8, one for 1.2, and two for 1.55. (The best
# candidate by the truth stands at about 2.) A call may take ten seconds.
#
# Before you write: what does the first judge alone reach? What the plain mean of all five? Draw one judge against another. How could you
# tell, without the truth, which of them knows something?

# %% pick
def pick(scores):
    """Return the place of the candidate to keep, for each request."""
    ### BEGIN SOLUTION
    scores = np.asarray(scores, dtype=float)
    flat = scores.reshape(-1, scores.shape[-1])
    # Ranks know no scale, no zero, and no enthusiasm beyond the top.
    ranks = flat.argsort(0).argsort(0) / len(flat) - 0.5
    together = np.corrcoef(ranks.T)
    np.fill_diagonal(together, 0.0)
    # Judges who know something agree with one another; the leading eigenvector says how much each of them does.
    weights = np.abs(np.linalg.eigh(together)[1][:, -1])
    return (ranks @ weights).reshape(scores.shape[:2]).argmax(1)
    ### END SOLUTION

# %% pick-check
def judges(seed, requests=400, candidates=32):
    """Draw the truth of candidates, and what five judges say of them."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(requests, candidates))
    scores = np.empty((requests, candidates, 5))
    for judge, noise in enumerate(rng.permutation([0.9, 1.0, 1.1, None, None])):  # None: knows nothing
        said = rng.normal(size=truth.shape) * (noise or 1.4) + (0 if noise is None else truth)
        said += 8 * (rng.random(truth.shape) < 0.03)
        scale = rng.choice([0.2, 1.0, 5.0]) if noise else 5.0
        scores[..., judge] = scale * said + rng.normal(0, 10)
    return scores, truth


scores, truth = judges(0)
places = pick(scores)
print(f"your picks {truth[np.arange(len(truth)), places].mean():.2f}, best possible {truth.max(1).mean():.2f}")
for name, one in {"first judge": scores[..., 0], "plain mean": scores.mean(-1), "sum of ranks": scores.argsort(1).argsort(1).sum(-1)}.items():
    print(f"{name:13} {truth[np.arange(len(truth)), one.argmax(1)].mean():.2f}")
