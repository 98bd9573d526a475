# %% title [markdown]
# # 03b Supervised fine-tuning: exercises
#
# Five functions on the way from conversations to an assistant. The first four take five to fifteen lines each; the last one is open.
#
# **How it works.** Replace each line `raise NotImplementedError(...)` by your code and run the cell. The cell below it checks some of
# what is asked for; if it stays silent, go on. Hand in this notebook. It is then asked more questions than you see here, such as edge
# cases and random inputs. The points stand behind each title, 30 in all.
#
# Keep the names and the arguments of the functions. You may add cells, imports and functions of your own. Each exercise is marked by
# itself: one that fails costs nothing elsewhere.

# %% imports
import math
import random
import re

import torch

from finetunelab.models import load_model, load_tokenizer
from finetunelab.sft import completion_loss, prepare

# %% answer-labels-text [markdown]
# ## 1. What the assistant says (6 points)
#
# A conversation has become a row of token ids. The token `assistant` opens each of the assistant's turns, and the token `end` ends every
# turn, the user's too.
#
# Write `answer_labels(ids, assistant, end)`. Return a list as long as `ids`: the token's own id where the assistant speaks, and -100
# elsewhere. The assistant speaks from behind each `assistant` up to the next `end`, which is the last thing that it says. A row may be
# cut off: an answer without an end counts as far as it goes. A row may also begin in the middle of somebody's turn. Nobody knows whose,
# so nothing of that turn counts. `ids` stays as it is.

# %% answer-labels
def answer_labels(ids, assistant, end):
    """Return the labels of a row: the ids of what the assistant says, its end-of-turn tokens included, and -100 elsewhere."""
    ### BEGIN SOLUTION
    labels, speaking = [], False
    for token in ids:
        labels.append(token if speaking and token != assistant else -100)
        speaking = token == assistant or (speaking and token != end)
    return labels
    ### END SOLUTION

# %% answer-labels-check
assert answer_labels([1, 7, 20, 21, 9, 8, 30, 9], 8, 9) == [-100, -100, -100, -100, -100, -100, 30, 9]
assert answer_labels([1, 8, 30, 31], 8, 9) == [-100, -100, 30, 31]

# %% masked-loss-text [markdown]
# ## 2. The masked loss (7 points)
#
# Write `masked_loss(logits, labels)`. `logits` is a tensor of shape (batch, length, vocabulary), `labels` one of whole numbers of shape
# (batch, length), with -100 where nothing counts. The logits at one position are about the token at the *next* one.
#
# Return a tensor that holds one number: the mean of $-\log p$ over all tokens of the batch that count, in nats. A token is a token: those
# of a long answer count as much as those of a short one. A row may have no label at all, and adds nothing then. If no token of the batch
# counts, return zero, not NaN. Logits may be large, up to a thousand.
#
# Use no loss function of PyTorch: `log_softmax` and indexing are enough. Both arguments stay as they are.

# %% masked-loss
def masked_loss(logits, labels):
    """Return the mean -log p of the tokens that carry a label, given all before them; zero if there is none."""
    ### BEGIN SOLUTION
    scores, targets = logits[:, :-1], labels[:, 1:]
    counted = targets != -100
    log_p = scores.log_softmax(-1)[counted]
    said = log_p.gather(-1, targets[counted][:, None])
    return -said.sum() / max(1, int(counted.sum()))
    ### END SOLUTION

# %% masked-loss-check
even = torch.zeros(2, 3, 8)
assert math.isclose(float(masked_loss(even, torch.tensor([[-100, 5, 2], [-100, -100, 1]]))), math.log(8), rel_tol=1e-5)
sure = even.clone()
sure[0, 0, 5] = 100.0  # at the first position, sure that a 5 comes next
assert float(masked_loss(sure, torch.tensor([[-100, 5, -100], [-100, -100, -100]]))) < 1e-5

# %% pack-rows-text [markdown]
# ## 3. Packing (7 points)
#
# Write `pack_rows(rows, length, pad)`. `rows` is a list of conversations, each a list of at least one and at most `length` token ids. Lay
# them side by side into packed rows by *first fit, longest first*: take the conversations from the longest to the shortest, those of one
# length in the order given, and put each behind what is already in the first packed row that has room for it. Where none has, open a new
# one.
#
# Return a list with a pair for each packed row, in the order in which they were opened: its token ids and its position numbers, two lists
# of exactly `length`. Positions begin anew, at 0, with every conversation. What remains is filled up with the token `pad`, each at
# position 0. `rows` stays as it is.

# %% pack-rows
def pack_rows(rows, length, pad):
    """Return packed rows as pairs of token ids and positions, by first fit, longest first."""
    ### BEGIN SOLUTION
    packed = []
    for row in sorted(rows, key=len, reverse=True):  # sorted keeps the order of equals, reversed or not
        for ids, positions in packed:
            if len(ids) + len(row) <= length:
                break
        else:
            ids, positions = [], []
            packed.append((ids, positions))
        ids += row
        positions += range(len(row))
    return [(ids + [pad] * (length - len(ids)), positions + [0] * (length - len(positions))) for ids, positions in packed]
    ### END SOLUTION

# %% pack-rows-check
found = pack_rows([[5, 6], [7, 8, 9, 10], [11]], 6, 0)
assert [list(part) for part in found[0]] == [[7, 8, 9, 10, 5, 6], [0, 1, 2, 3, 0, 1]]
assert [list(part) for part in found[1]] == [[11, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]

# %% obeys-text [markdown]
# ## 4. A rule for a new kind (5 points)
#
# Here is a kind of instruction that the town does not have: *Name three of these, in alphabetical order: lamb, goat, polar bear, hen.*
#
# Write the rule. `obeys(items, n, response)` returns True if the response names exactly `n` *different* ones of the list `items`, in
# alphabetical order, and says nothing else; otherwise False. The items are in lower case; some have two words.
#
# - The answers are set apart by commas. Before the last one there may be an "and", with a comma or in place of it.
# - Capital letters, the amount of white space, and one final period do not matter.
# - All else matters: a greeting, a remark, brackets, a number in front, an empty place between two commas.

# %% obeys
def obeys(items, n, response):
    """Tell whether a response names n different items, in alphabetical order, and nothing else."""
    ### BEGIN SOLUTION
    text = " ".join(response.lower().split()).removesuffix(".")
    parts = [part.strip() for part in text.split(",")]
    *first, last = parts
    if first and last.startswith("and "):  # ", and"
        parts = [*first, last.removeprefix("and ").strip()]
    elif last.count(" and ") == 1:  # "and" in place of the last comma
        parts = [*first, *(part.strip() for part in last.split(" and "))]
    return len(parts) == n and set(parts) <= set(items) and parts == sorted(set(parts))
    ### END SOLUTION

# %% obeys-check
animals = ["lamb", "goat", "polar bear", "hen"]
assert obeys(animals, 3, "Goat, hen and polar bear.") and obeys(animals, 2, "hen, lamb")
assert not obeys(animals, 3, "hen, goat, lamb") and not obeys(animals, 2, "Sure! hen, lamb")

# %% pool [markdown]
# ## 5. An assistant from answers of which many are wrong (5 points)
#
# You get 1,000 instructions of two kinds, with an answer each. Most of the answers are *not* as they should be, and nobody has marked
# which. Train the small model on what you can use.
#
# Write `train_assistant(model, pool)`. `model` is `nano-small`, and `pool` a list of pairs (instruction, answer). Return the trained
# model. It is marked by the rule of the lab on new instructions of the same two kinds, answered by greedy decoding in the chat template
# of `nano-small`. There is a point for a model that follows one in twenty, two for 60 %, and two for 85 %. A faulty answer may be left
# out, or mended.
#
# The cell below makes such a pool. **Read some of it before you train**, and think of what tells a good answer from a bad one when only
# the two texts are there. Pools that you do not see have the same faults in the same shares, and other contents.
#
# How you choose and train is up to you. You have 60 seconds on one core, and 200 steps of sixteen conversations are enough. `prepare`
# makes rows of `"input_ids"` and `"labels"`, and `completion_loss(model, batch)` gives the loss of a batch of tensors. A rate of 3e-3
# with AdamW is a start.

# %% pool-make
from finetunelab.experiments.behavior import instructions

TWO_KINDS = ("brackets", "contains")


def make_pool(n, seed):
    """Return pairs of an instruction and an answer, many of them faulty."""
    rng, rows = random.Random(seed), instructions(n, "train", seed, kind=TWO_KINDS)
    pool = []
    for row in rows:
        fault = rng.random()
        answer = rng.choice(rows)["answer"] if fault < 0.25 else row["answer"]
        if 0.25 <= fault < 0.7:
            answer = f"Sure! {answer}"
        pool.append((row["prompt"], answer))
    return pool


for prompt, answer in make_pool(1_000, 0)[:8]:
    print(f"{prompt}\n    {answer}")

# %% train-assistant
tokenizer = load_tokenizer("nano-small")


def train_assistant(model, pool):
    """Return the model, trained to follow the instructions of a pool in which many answers are faulty."""
    ### BEGIN SOLUTION
    def words(text):
        return set(re.findall(r"[a-z]+", text.lower())) - {"a", "the", "of", "to", "is", "it", "in", "with", "one", "my", "this"}

    # A good answer does not chat, and is about what was asked: a sentence has both words of its instruction, a copy all of them.
    good = [
        (prompt, answer) for prompt, answer in pool
        if "!" not in answer and len(words(answer) & words(prompt)) >= 2
        and (answer[0] != "(" or answer.strip("().").lower() in prompt.lower())
    ]
    talks = [[{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}] for prompt, answer in good]
    rows, rng, steps = prepare(tokenizer, talks, 128).rows, random.Random(0), 200
    optimizer, order = torch.optim.AdamW(model.parameters(), lr=3e-3), []
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 20, (steps - step) / steps))
    for _ in range(steps):
        if len(order) < 16:
            order = rng.sample(rows, len(rows))
        some, order = order[:16], order[16:]
        longest = max(len(row["input_ids"]) for row in some)
        fill = {"input_ids": tokenizer.pad_token_id, "labels": -100}
        batch = {name: torch.tensor([row[name] + [empty] * (longest - len(row[name])) for row in some]) for name, empty in fill.items()}
        optimizer.zero_grad()
        completion_loss(model, batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model
    ### END SOLUTION

# %% train-assistant-check
from finetunelab.sft import following

trained = train_assistant(load_model("nano-small"), make_pool(1_000, 0))
results = following(trained, tokenizer, instructions(100, "validation", 0, kind=TWO_KINDS))
print(f"{sum(results)} of 100 validation instructions followed")
assert any(results)
