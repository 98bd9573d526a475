# %% title [markdown]
# # 02b Unfreezing: exercises
#
# Five functions around a model that is trained along, in part or by small corrections. The first four take five to fifteen lines each; the
# last one is open.
#
# **How it works.** Replace each line `raise NotImplementedError(...)` by your code and run the cell. The cell below it checks some of
# what is asked for; if it stays silent, go on. Hand in this notebook. It is then asked more questions than you see here, such as edge
# cases and random inputs. The points stand behind each title, 30 in all.
#
# Keep the names and the arguments of the functions. You may add cells, imports and functions of your own. Each exercise is marked by
# itself: one that fails costs nothing elsewhere.

# %% imports
import math

import torch

from finetunelab.models import load_model, load_tokenizer

# %% freeze-but-last-text [markdown]
# ## 1. What is frozen, and what is trained (6 points)
#
# A parameter is frozen when its `requires_grad` is False: no gradient is kept for it, and no optimizer moves it.
#
# Write `freeze_but_last(model, blocks)`. `model` is a language model of the course. Its blocks are the list `model.model.layers`, and
# `model.model.norm` is the normalization above them. Leave the last `blocks` blocks and that normalization trainable and freeze all else,
# in place. With `blocks` 0 everything is frozen, the normalization too. What was frozen or trainable before makes no difference.
#
# Return a pair of whole numbers: how many parameters are trainable now, and how many the model has in all. A weight matrix of 3 by 4 has
# 12 parameters. The embeddings and the next-token layer share one matrix, which counts once; `model.parameters()` names it once.

# %% freeze-but-last
def freeze_but_last(model, blocks):
    """Freeze all but the last blocks and the norm above them; return the numbers of trainable parameters and of all."""
    ### BEGIN SOLUTION
    model.requires_grad_(False)
    if blocks:  # the last 0 of a list, layers[-0:], is all of it
        for part in (*model.model.layers[-blocks:], model.model.norm):
            part.requires_grad_(True)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return trained, sum(p.numel() for p in model.parameters())
    ### END SOLUTION

# %% freeze-but-last-check
model = load_model("nano-small")
trained, whole = freeze_but_last(model, 1)
assert 0 < trained < whole == 332_584
assert not model.model.embed_tokens.weight.requires_grad and not model.model.layers[1].mlp.up_proj.weight.requires_grad
assert model.model.layers[2].mlp.up_proj.weight.requires_grad and model.model.norm.weight.requires_grad

# %% recovered-share-text [markdown]
# ## 2. The share of the gain (4 points)
#
# Full fine-tuning gains something over a frozen head. What part of that does a cheaper method gain?
#
# Write `recovered_share(frozen, method, full)`. Each is a list of accuracies, one a seed, in the same order. Return
#
# $$\frac{\text{mean}(\text{method}) - \text{mean}(\text{frozen})}{\text{mean}(\text{full}) - \text{mean}(\text{frozen})}.$$
#
# It may be above 1 or below 0; leave it so. If full fine-tuning gains nothing on average, no share means anything: return None.
#
# The book's claim B7 takes the share of every seed, and then their mean. With a gain of a few points that is at the mercy of a seed in
# which full fine-tuning gained next to nothing, and its interval is wide. A ratio of two means is steadier. Both are in use, so say which
# one you report.

# %% recovered-share
def recovered_share(frozen, method, full):
    """Return the part of full fine-tuning's mean gain over a frozen head that a method recovers; None if there is no gain."""
    ### BEGIN SOLUTION
    below, reached, above = (sum(scores) / len(scores) for scores in (frozen, method, full))
    return (reached - below) / (above - below) if above > below else None
    ### END SOLUTION

# %% recovered-share-check
assert math.isclose(recovered_share([0.5, 0.6], [0.7, 0.6], [0.7, 0.8]), 0.5)
assert recovered_share([0.6, 0.6], [0.7, 0.7], [0.6, 0.5]) is None

# %% kept-bytes-text [markdown]
# ## 3. What stays in memory (7 points)
#
# Before you rent a machine, work out what must fit on it.
#
# Write `kept_bytes(shapes, others, rank, method)`. `shapes` is a list of pairs (outputs, inputs), one for each weight matrix of the
# blocks, and `others` is the number of all other parameters: embeddings, norms, biases. LoRA sets a correction of rank `rank` beside each
# matrix and beside nothing else. Return three whole numbers: the bytes of the weights (corrections included), of the gradients, and of
# what the optimizer keeps, its two moments.
#
# | `method` | Model | Trained |
# |---|---|---|
# | `"full"` | all parameters in 32 bit | all of them |
# | `"frozen"` | all parameters in 16 bit | nothing |
# | `"LoRA"` | all parameters in 16 bit | the corrections, in 32 bit |
# | `"QLoRA"` | the matrices in 4 bit as below, all other parameters in 16 bit | the corrections, in 32 bit |
#
# Gradients and both moments are kept in 32 bit, for what is trained and for nothing else. Eight bits are a byte. In 4 bit each weight
# takes half a byte, each 64 weights share a constant of one byte, and each 256 of these constants share one of four bytes. All matrices
# have a multiple of 16,384 weights, so nothing is rounded. (The course's own count keeps norms in 32 bit under QLoRA. They are few.)

# %% kept-bytes
def kept_bytes(shapes, others, rank, method):
    """Return the bytes that stay from step to step: of the weights, of the gradients, and of the optimizer's moments."""
    ### BEGIN SOLUTION
    matrices = sum(outputs * inputs for outputs, inputs in shapes)
    corrections = sum(rank * (outputs + inputs) for outputs, inputs in shapes)
    trained = {"full": matrices + others, "frozen": 0}.get(method, corrections)
    if method == "full":
        weights = 4 * trained
    elif method == "QLoRA":
        weights = matrices // 2 + matrices // 64 + 4 * (matrices // (64 * 256)) + 2 * others + 4 * trained
    else:
        weights = 2 * (matrices + others) + 4 * trained
    return weights, 4 * trained, 8 * trained
    ### END SOLUTION

# %% kept-bytes-check
assert tuple(kept_bytes([(128, 128)], 16, 4, "full")) == (65_600, 65_600, 131_200)
assert tuple(kept_bytes([(128, 128)], 16, 4, "LoRA")) == (36_896, 4_096, 8_192)

# %% learn-correction-text [markdown]
# ## 4. LoRA, from the first day to the merge (8 points)
#
# A layer is frozen: a weight matrix $W$ of shape (outputs, inputs) and a bias $b$. Beside it two strips learn, $A$ of shape (rank, inputs)
# and $B$ of shape (outputs, rank). For a row $x$ the layer now gives
#
# $$W x + b + \frac{\alpha}{r} B A x.$$
#
# Write `learn_correction(x, y, weight, bias, rank, alpha, steps, rate, seed)`. `x` of shape (n, inputs) and `y` of shape (n, outputs) are
# tensors: what goes in, and what should come out. `weight` and `bias` are those of the layer, and `alpha` is $\alpha$.
#
# 1. Start: draw $A$ at random with the seed, each number from a distribution with mean 0 and a standard deviation of
#    $1/\sqrt{\text{inputs}}$. Choose $B$ so that *nothing has changed yet*, for any $x$. The same seed gives the same $A$.
# 2. Take `steps` steps of gradient descent with `rate` on the mean squared error,
#    `((output - y) ** 2).mean()`, over all n rows. Each step moves $A$ and $B$ at once, by the gradients from before the step.
# 3. Merge: compute the one matrix that does, with the same bias, what the layer and its correction do together.
#
# Return three tensors: $A$, $B$, and the merged matrix of shape (outputs, inputs). `x`, `y`, `weight` and `bias` stay as they are.

# %% learn-correction
def learn_correction(x, y, weight, bias, rank, alpha, steps, rate, seed):
    """Return strips A of shape (rank, inputs) and B of shape (outputs, rank) after training, and the merged matrix (outputs, inputs)."""
    ### BEGIN SOLUTION
    generator = torch.Generator().manual_seed(seed)
    A = (torch.randn(rank, weight.shape[1], generator=generator) / weight.shape[1] ** 0.5).requires_grad_()
    B = torch.zeros(weight.shape[0], rank, requires_grad=True)
    scale = alpha / rank
    for _ in range(steps):
        loss = ((x @ weight.T + bias + scale * x @ A.T @ B.T - y) ** 2).mean()
        grad_A, grad_B = torch.autograd.grad(loss, (A, B))
        with torch.no_grad():
            A -= rate * grad_A
            B -= rate * grad_B
    return A.detach(), B.detach(), weight + scale * (B @ A).detach()
    ### END SOLUTION

# %% learn-correction-check
generator = torch.Generator().manual_seed(1)
X, WEIGHT, BIAS = torch.randn(64, 6, generator=generator), torch.randn(5, 6, generator=generator), torch.ones(5)
CHANGE = torch.outer(torch.randn(5, generator=generator), torch.randn(6, generator=generator))  # a change of rank 1
Y = X @ (WEIGHT + CHANGE).T + BIAS
A, B, merged = learn_correction(X, Y, WEIGHT, BIAS, 2, 4.0, 0, 0.1, seed=0)
assert A.shape == (2, 6) and B.shape == (5, 2) and torch.equal(merged, WEIGHT)
A, B, merged = learn_correction(X, Y, WEIGHT, BIAS, 2, 4.0, 400, 0.1, seed=0)
assert ((X @ merged.T + BIAS - Y) ** 2).mean() < 0.01 * ((X @ WEIGHT.T + BIAS - Y) ** 2).mean()

# %% adapt-text [markdown]
# ## 5. A small file for a new task (5 points)
#
# One base, many tasks: all that a task may add is a small file. Make one.
#
# `adapt(model, ids, mask, labels)` gets the small model and 400 reviews as token ids, of shape (400, length), padded on the right, with
# the mask of the same shape. `labels` is a list with the topic of each, from 0 to 5. Return three things:
#
# - a dict of corrections. Its keys are names of matrices as `model.state_dict()` has them, such as
#   `"model.layers.0.self_attn.q_proj.weight"`. Each value is a pair of tensors $(A, B)$, of shapes (rank, inputs) and (outputs, rank), so
#   that the matrix becomes $W + B A$: put the scale into one of the two. The rank may differ from matrix to matrix;
# - the weight of a head, a tensor of shape (6, 56), and
# - its bias, of shape (6,).
#
# It is marked so: your corrections are merged into a fresh copy of the model, and your head reads the mean of its last states over the
# tokens of a text, padding left out. All numbers that you return may be **at most a twentieth** of the model's 332,584 parameters. There
# is a point for a file that fits. Then, for the accuracy on reviews that you do not see, there are two points for 65 %, which a head on
# the frozen model does not reach, and two for 85 %. (Counting words does as well on this task. What is practiced here is the file.)
#
# How to train is up to you; `LoRALinear` in `finetunelab.lora` is the layer of the lab, with `A`, `B` and `scale`. You have 60 seconds on
# one core. A rate of 1e-2 with AdamW, and steps of sixteen reviews, are a start.

# %% adapt
from finetunelab.lora import LoRALinear


def adapt(model, ids, mask, labels):
    """Return corrections by name of matrix, each a pair of shapes (rank, inputs) and (outputs, rank), and a head's weight and bias."""
    ### BEGIN SOLUTION
    model.requires_grad_(False)
    strips, head = {}, torch.nn.Linear(model.config.hidden_size, 6)
    for name, layer in list(model.named_modules()):
        if isinstance(layer, torch.nn.Linear) and ".layers." in name:
            strips[name] = LoRALinear(layer, rank=4, seed=len(strips))
            model.set_submodule(name, strips[name])
    trained = [p for part in (*strips.values(), head) for p in part.parameters() if p.requires_grad]
    optimizer, generator, steps = torch.optim.AdamW(trained, lr=1e-2), torch.Generator().manual_seed(0), 50
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    targets, lengths = torch.tensor(labels), mask.sum(1)
    for step in range(steps):
        if step % 25 == 0:
            order = torch.randperm(len(ids), generator=generator)
        rows = order[step % 25 * 16 :][:16]
        longest = int(lengths[rows].max())  # what is padding in all of them need not be computed
        some_ids, some_mask = ids[rows, :longest], mask[rows, :longest]
        last = model.get_decoder()(input_ids=some_ids, attention_mask=some_mask).last_hidden_state
        weights = some_mask[..., None].float()
        scores = head((last * weights).sum(1) / weights.sum(1))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(scores, targets[rows]).backward()
        optimizer.step()
        schedule.step()
    corrections = {f"{name}.weight": (strip.A.detach(), strip.scale * strip.B.detach()) for name, strip in strips.items()}
    return corrections, head.weight.detach(), head.bias.detach()
    ### END SOLUTION

# %% adapt-check
from finetunelab.heads import pool
from finetunelab.worlds.baseline import labelled

tokenizer = load_tokenizer("nano-small")


def review_rows(split, n):
    texts, topics = labelled("reviews", "topic", n, split, 0)
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    return batch["input_ids"], batch["attention_mask"], topics


corrections, head_weight, head_bias = adapt(load_model("nano-small"), *review_rows("train", 400))
merged_model, (ids, mask, truth) = load_model("nano-small"), review_rows("validation", 200)
with torch.inference_mode():
    for name, (A, B) in corrections.items():
        merged_model.state_dict()[name] += B @ A
    vectors = pool(merged_model.get_decoder()(input_ids=ids, attention_mask=mask).last_hidden_state, mask, "mean")
numbers = sum(A.numel() + B.numel() for A, B in corrections.values()) + head_weight.numel() + head_bias.numel()
right = ((vectors @ head_weight.T + head_bias).argmax(1) == torch.tensor(truth)).float().mean()
print(f"{numbers:,} numbers, {right:.0%} right on 200 validation reviews")
assert numbers <= 332_584 / 20
