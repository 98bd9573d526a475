# %% title [markdown]
# # 04b The RL loop: exercises
#
# Five functions that make up the loop. The first four take three to ten lines each; the last one is open. No language model is needed.
#
# **How it works.** Replace each line `raise NotImplementedError(...)` by your code and run the cell. The cell below it checks some of
# what is asked for; if it stays silent, go on. Hand in this notebook. It is then asked more questions than you see here, such as edge
# cases and random inputs. The points stand behind each title, 30 in all.
#
# Keep the names and the arguments of the functions. You may add cells, imports and functions of your own. Each exercise is marked by
# itself: one that fails costs nothing elsewhere. Write the formulas out: `finetunelab.ppo` has some of them, and copying teaches nothing.
#
# Tensors have the shape (responses, width). A row is a request, its response, and padding. `mask` is a tensor of booleans of that shape,
# `True` on the tokens of the response, which stand side by side. Every response has at least one token. Where `mask` is `False`, the
# other tensors may hold anything, and nothing of it may reach your result. All arguments stay as they are.

# %% imports
import torch

# %% token-rewards-text [markdown]
# ## 1. The reward of each token (6 points)
#
# Write `token_rewards(scores, log_p, reference_log_p, mask, weight)`. `scores` has shape (responses,). `log_p` and `reference_log_p` are
# the log-probabilities of the tokens under the policy and under the reference.
#
# Return a tensor of the mask's shape. A token of the response is charged `weight` times the log of how much likelier it is under the policy
# than under the reference. The last token of a response gets the response's score as well. Outside the response the reward is zero.

# %% token-rewards
def token_rewards(scores, log_p, reference_log_p, mask, weight):
    """Return the reward of each token: minus the weighted KL estimate, and at the last token of a response its score as well."""
    ### BEGIN SOLUTION
    rewards = torch.where(mask, -weight * (log_p - reference_log_p), 0.0)
    places = torch.arange(mask.shape[1])
    last = torch.where(mask, places, -1).amax(1)
    rewards[torch.arange(len(scores)), last] += scores
    return rewards
    ### END SOLUTION

# %% token-rewards-check
found = token_rewards(
    torch.tensor([2.0]), torch.tensor([[0.0, -1.0, -2.0, 0.0]]), torch.tensor([[0.0, -3.0, -1.0, 0.0]]),
    torch.tensor([[False, True, True, False]]), 0.5,
)
assert torch.allclose(found, torch.tensor([[0.0, -1.0, 2.5, 0.0]]))

# %% kl-text [markdown]
# ## 2. Two estimates of the KL (5 points)
#
# The tokens were drawn from the policy $p$; the reference is $q$. With $d = \log p - \log q$ of a token, its plain estimate of
# $\mathrm{KL}(p \,\|\, q)$ is $d$. It is right on average, and often below zero, which no KL is. Schulman's third estimate,
# $k_3 = r - 1 - \log r$ with $r = q / p$, has the same average and is never below zero.
#
# Write `kl_estimates(log_p, reference_log_p, mask)`. Return two tensors of shape (responses,): for each response the sum of $d$ over its
# tokens, and the sum of $k_3$.

# %% kl
def kl_estimates(log_p, reference_log_p, mask):
    """Return for each response the sum over its tokens of log p - log q, and of r - 1 - log r with r = q / p."""
    ### BEGIN SOLUTION
    d = torch.where(mask, log_p - reference_log_p, 0.0)  # first, for what stands elsewhere may be too large for exp
    return d.sum(1), ((-d).exp() - 1 + d).sum(1)
    ### END SOLUTION

# %% kl-check
# Two words, likely .75 and .25 under p, .5 and .5 under q. As four tokens they come as often as p says, so the mean is the KL itself.
p, q = torch.tensor([[0.75, 0.75, 0.75, 0.25]]).log(), torch.full((1, 4), 0.5).log()
plain, third = kl_estimates(p, q, torch.ones(1, 4, dtype=torch.bool))
kl = 0.75 * torch.tensor(1.5).log() + 0.25 * torch.tensor(0.5).log()
assert torch.allclose(plain / 4, kl) and torch.allclose(third / 4, kl)
assert all((kl_estimates(p[:, i:], q[:, i:], torch.ones(1, 4 - i, dtype=torch.bool))[1] >= 0).all() for i in range(4))

# %% gae-text [markdown]
# ## 3. Advantages (7 points)
#
# Write `gae(rewards, values, mask, gamma, lam)`, generalized advantage estimation. For the tokens of a response
#
# $$\delta_t = r_t + \gamma V_{t+1} - V_t, \qquad A_t = \sum_{l \ge 0} (\gamma \lambda)^l \, \delta_{t+l}.$$
#
# After the last token of a response there is nothing: the next value there is zero, and so are all later deltas. Return the advantages,
# and the returns, which are what the value head should have said: advantages plus values. Both are zero outside the response.

# %% gae
def gae(rewards, values, mask, gamma, lam):
    """Return advantages and returns of each token, zero outside the responses."""
    ### BEGIN SOLUTION
    rewards, values = torch.where(mask, rewards, 0.0), torch.where(mask, values, 0.0)
    found, coming, next_value = torch.zeros_like(values), torch.zeros_like(values[:, 0]), torch.zeros_like(values[:, 0])
    for t in reversed(range(mask.shape[1])):
        coming = torch.where(mask[:, t], rewards[:, t] + gamma * next_value - values[:, t] + gamma * lam * coming, 0.0)
        found[:, t], next_value = coming, values[:, t]
    return found, torch.where(mask, found + values, 0.0)
    ### END SOLUTION

# %% gae-check
mask = torch.tensor([[False, True, True, True, False]])
rewards, values = torch.tensor([[0.0, 0.0, 0.0, 1.0, 0.0]]), torch.tensor([[9.0, 0.5, 0.4, 0.8, 9.0]])
found, returns = gae(rewards, values, mask, 1.0, 0.5)
assert torch.allclose(found, torch.tensor([[0.0, 0.15, 0.5, 0.2, 0.0]]))
assert torch.allclose(returns, torch.tensor([[0.0, 0.65, 0.9, 1.0, 0.0]]))

# %% policy-loss-text [markdown]
# ## 4. The clipped loss (6 points)
#
# Write `policy_loss(log_p, old_log_p, advantages, mask, clip)`. With the ratio $\rho = p / p_\text{old}$ of a token, return a tensor that
# holds one number: *minus* the mean, over all tokens of all responses, of
#
# $$\min\big(\rho A, \; \mathrm{clip}(\rho, 1 - \epsilon, 1 + \epsilon)\, A\big).$$
#
# Every token counts the same, those of long responses as much as those of short ones.

# %% policy-loss
def policy_loss(log_p, old_log_p, advantages, mask, clip):
    """Return minus the clipped objective, a mean over the marked tokens of the batch."""
    ### BEGIN SOLUTION
    ratio, advantages = (log_p - old_log_p)[mask].exp(), advantages[mask]
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages).mean()
    ### END SOLUTION

# %% policy-loss-check
old, mask = torch.full((1, 4), 0.1).log(), torch.tensor([[True, True, True, False]])
log_p = torch.tensor([[0.11, 0.15, 0.05, 0.9]]).log().requires_grad_()
loss = policy_loss(log_p, old, torch.tensor([[2.0, 1.0, 1.0, 50.0]]), mask, 0.2)
assert torch.allclose(loss, torch.tensor(-(2.2 + 1.2 + 0.5) / 3))
loss.backward()  # inside the clip: learned from; beyond it on the good side: not; beyond it on the bad side: learned from
assert torch.allclose(log_p.grad, torch.tensor([[-2.2, 0.0, -0.5, 0.0]]) / 3)

# %% improve-text [markdown]
# ## 5. Buttons that you do not see (6 points)
#
# A policy is a table of logits, one for each of a few buttons. It presses some buttons, each drawn with the softmax of the table. You are
# told what was pressed and what was paid, and change the table. Then the new table presses, and so on, sixty times. What the buttons pay
# on average, you never learn.
#
# Write `improve(logits, reference, pressed, paid, weight)`. `logits` and `reference` are lists of numbers: the table that pressed, and the
# one that it is held to, where it may or may not have started. `pressed` has the numbers of the buttons, from 0, and `paid` what each press
# paid, a batch of 16. Return the new table as a list. It is called once a step, and is to maximize
#
# $$\mathbb{E}[\text{paid}] - \beta \, \mathrm{KL}(\text{policy} \,\|\, \text{reference}), \qquad \beta = \texttt{weight}.$$
#
# Presses pay about 1 more or less for a good or a bad button, with luck of the same size. But somebody may add a constant to all that is
# paid, as large as 50 and of either sign, which must change nothing. The weight may be 0, or as large as 5: then the charge for a press is
# large, and steps that are too big overshoot. The best table for a weight $\beta > 0$ is known: $\text{reference} + \text{mean
# pay} / \beta$, as logits. It is marked by where your tables end, on average over several runs.

# %% improve
def improve(logits, reference, pressed, paid, weight):
    """Return the logits after a step of policy gradient on a batch of presses."""
    ### BEGIN SOLUTION
    table, start = torch.tensor(logits, dtype=torch.float64), torch.tensor(reference, dtype=torch.float64)
    pressed, paid = torch.tensor(pressed), torch.tensor(paid, dtype=torch.float64)
    log_p, p = table.log_softmax(0), table.softmax(0)
    rewards = paid - weight * (log_p - start.log_softmax(0))[pressed]
    n = len(paid)
    advantages = (rewards - rewards.mean()) * n / (n - 1)  # each press beside the mean of the others
    gradient = ((torch.eye(len(table), dtype=torch.float64)[pressed] - p) * advantages[:, None]).mean(0)
    return (table + gradient / (1 + weight)).tolist()
    ### END SOLUTION

# %% improve-check
def play(pays, weight, seed, steps=60, presses=16):
    """Let improve learn for some steps; return the final probabilities of the buttons."""
    generator, pays = torch.Generator().manual_seed(seed), torch.tensor(pays)
    table = [0.0] * len(pays)
    for _ in range(steps):
        pressed = torch.multinomial(torch.tensor(table).softmax(0), presses, replacement=True, generator=generator)
        paid = pays[pressed] + torch.randn(presses, generator=generator)
        table = improve(table, [0.0] * len(pays), pressed.tolist(), paid.tolist(), weight)
    return torch.tensor(table).softmax(0)


print("the best of three buttons, without a charge:", f"{play([0.0, 1.0, 2.0], 0.0, 0)[2]:.2f}")
print("with a weight of 1 the best policy has .67: ", f"{play([0.0, 1.0, 2.0], 1.0, 0)[2]:.2f}")
assert play([0.0, 1.0, 2.0], 0.0, 0)[2] > 0.6
