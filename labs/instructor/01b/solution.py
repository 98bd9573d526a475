# %% title [markdown]
# # 01b The chef: exercises
#
# Eight functions around a language model that goes on learning. The first seven take three to fifteen lines each; the last one is open.
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
import torch

from finetunelab.models import load_model, load_tokenizer

# %% corpus-perplexity-text [markdown]
# ## 1. The perplexity of many texts (3 points)
#
# Perplexity is exp of the mean loss per *token*. A long text has more tokens than a short one, and so more weight.
#
# Write `corpus_perplexity(nats, tokens)`. For each text, `nats` has the sum of its tokens' losses in nats, and `tokens` their number.
# Return the perplexity of all texts together. There is at least one token in all; a text with none changes nothing.

# %% corpus-perplexity
def corpus_perplexity(nats, tokens):
    ### BEGIN SOLUTION
    return math.exp(sum(nats) / sum(tokens))
    ### END SOLUTION

# %% corpus-perplexity-check
assert math.isclose(corpus_perplexity([10 * math.log(4)], [10]), 4)
assert math.isclose(corpus_perplexity([0.0, 2 * math.log(8)], [4, 2]), 2)

# %% bits-per-byte-text [markdown]
# ## 2. Bits per byte (3 points)
#
# Two models with different tokenizers cut a text into different numbers of tokens, so their perplexities cannot be compared. What they
# pay for a whole text can: count it in bits, and spread it over the bytes of the text.
#
# Write `bits_per_byte(nats, texts)`. For each text, `nats` has the sum of its tokens' losses in nats. Return the bits paid for all texts,
# divided by the number of bytes of all texts in UTF-8. One bit is $\ln 2$ nats.

# %% bits-per-byte
def bits_per_byte(nats, texts):
    ### BEGIN SOLUTION
    return sum(nats) / math.log(2) / sum(len(text.encode("utf-8")) for text in texts)
    ### END SOLUTION

# %% bits-per-byte-check
assert math.isclose(bits_per_byte([8 * math.log(2)], ["rice"]), 2)
assert math.isclose(bits_per_byte([2 * math.log(2), 4 * math.log(2)], ["ri", "ce"]), 1.5)

# %% next-token-loss-text [markdown]
# ## 3. The loss, written out (5 points)
#
# At each place a language model says what it expects at the *next* one.
#
# Write `next_token_loss(logits, ids, mask)`. `logits` is a tensor of shape (batch, length, vocabulary), `ids` of shape (batch, length)
# holds the tokens, and `mask` of the same shape is 1 where a token is to be predicted and 0 where it is not, such as on padding or on a
# prompt. The logits at place $t$ predict the token at $t + 1$; nothing predicts the first token of a row. Return the mean cross-entropy
# in nats over all tokens of the batch that are predicted and have a mask of 1, a tensor with one number. If there are none, return zero.
#
# Write it with `log_softmax` or `logsumexp`: the exponential of a logit of 1,000 is more than a float can hold.

# %% next-token-loss
def next_token_loss(logits, ids, mask):
    ### BEGIN SOLUTION
    log_p = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    wanted = mask[:, 1:].to(log_p.dtype)
    return -(log_p * wanted).sum() / wanted.sum().clamp(min=1)
    ### END SOLUTION

# %% next-token-loss-check
IDS = torch.tensor([[0, 1, 2, 2]])
assert math.isclose(next_token_loss(torch.zeros(1, 4, 5), IDS, torch.ones(1, 4)).item(), math.log(5), rel_tol=1e-5)
sure = torch.nn.functional.one_hot(torch.tensor([[1, 2, 2, 0]]), 5) * 50.0
assert next_token_loss(sure, IDS, torch.ones(1, 4)).item() < 1e-5

# %% pack-text [markdown]
# ## 4. Packing (4 points)
#
# Texts have all lengths and a batch has one. In pretraining, texts are written one behind the other and cut into rows.
#
# Write `pack(texts, length, end)`. `texts` is a list of lists of token ids. Put the token `end` behind *every* text, join all, and cut
# the result into rows of `length` tokens. What is left over at the end, too short for a row, is dropped. Return the rows as a list of
# lists. No padding, and no row that is shorter.

# %% pack
def pack(texts, length, end):
    ### BEGIN SOLUTION
    stream = [token for text in texts for token in (*text, end)]
    return [stream[start : start + length] for start in range(0, len(stream) - length + 1, length)]
    ### END SOLUTION

# %% pack-check
assert pack([[5, 6, 7], [8]], 3, end=0) == [[5, 6, 7], [0, 8, 0]]
assert pack([[5, 6], [7]], 3, end=0) == [[5, 6, 0]]

# %% sample-text [markdown]
# ## 5. Drawing a token (4 points)
#
# The temperature decides how daring a model is: its probabilities are the softmax of logits / temperature.
#
# Write `sample(logits, temperature, u)`. `logits` is an array of shape (vocabulary,), and `u` a number from 0 to below 1 that was drawn
# for you. Lay the probabilities side by side in the order of the tokens, from 0 to 1, and return the token whose stretch holds `u`: the
# smallest token for which the sum of its probability and those before it is greater than `u`. At temperature 0 return the token with the
# greatest logit, whatever `u` is. Return a plain `int`. Logits may be large.

# %% sample
def sample(logits, temperature, u):
    ### BEGIN SOLUTION
    if temperature == 0:
        return int(np.argmax(logits))
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    sums = np.cumsum(weights) / weights.sum()
    # Rounding may leave the last sum below one, and u above it.
    return min(int(np.searchsorted(sums, u, side="right")), len(sums) - 1)
    ### END SOLUTION

# %% sample-check
logits = np.log(np.array([0.5, 0.25, 0.25]))
assert [sample(logits, 1.0, u) for u in (0.1, 0.6, 0.9)] == [0, 1, 2]
assert sample(np.array([1.0, 3.0, 2.0]), 0, 0.99) == 1

# %% skill-kept-text [markdown]
# ## 6. What was kept (2 points)
#
# The chef learns Thai recipes, and some of the French is lost. How much is left? Lay a scale in nats per token: 1 is where the model was
# before it learned Thai, and 0 is where a novice is, who never learned French.
#
# Write `skill_kept(before, after, novice)`. All three are perplexities on French recipes: of the model before and after, and of the
# novice. Return the place of "after" on the scale,
#
# $$\frac{\ln \text{novice} - \ln \text{after}}{\ln \text{novice} - \ln \text{before}}.$$
#
# It may be above 1, when French improved, or below 0; leave it so.

# %% skill-kept
def skill_kept(before, after, novice):
    ### BEGIN SOLUTION
    return (math.log(novice) - math.log(after)) / (math.log(novice) - math.log(before))
    ### END SOLUTION

# %% skill-kept-check
assert math.isclose(skill_kept(2, 2, 2000), 1)
assert math.isclose(skill_kept(1, 10, 1000), 2 / 3)

# %% train-steps-text [markdown]
# ## 7. Going on with training (5 points)
#
# Write `train_steps(model, batches, steps, rate)`, plain gradient descent in place. `model` is a language model of the course. `batches`
# is a list of tensors of token ids, each of shape (batch, length). In each of `steps` steps take the next batch (after the last comes the
# first again), compute `model(input_ids=batch, labels=batch).loss`, and move every parameter by $-\text{rate}$ times its gradient: no
# momentum, no decay.
#
# Some parameters may be frozen (`requires_grad` is False). They must come out as they went in, and still frozen. Return the list of the
# losses, one a step, each computed *before* that step, as plain floats.

# %% train-steps
def train_steps(model, batches, steps, rate):
    ### BEGIN SOLUTION
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=rate)
    losses = []
    for step in range(steps):
        batch = batches[step % len(batches)]
        optimizer.zero_grad()
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
    ### END SOLUTION

# %% train-steps-check
model, tokenizer = load_model("nano-small"), load_tokenizer("nano-small")
for parameter in model.model.embed_tokens.parameters():
    parameter.requires_grad_(False)
embeddings = model.model.embed_tokens.weight.clone()
batch = tokenizer("Trim the lemongrass and bruise the white part.", return_tensors="pt")["input_ids"]
losses = train_steps(model, [batch], 4, 0.003)
assert len(losses) == 4 and losses[3] < losses[0]
assert torch.equal(model.model.embed_tokens.weight, embeddings)

# %% learn-and-keep-text [markdown]
# ## 8. Learn Thai, keep French (4 points)
#
# Now plan it yourself. `learn_and_keep(model, thai, french, steps)` gets the small model, rows of Thai and of French recipes (tensors of
# token ids, each of shape (rows, 128)), and a budget. Train the model in at most `steps` steps of eight rows each, and return it.
#
# The optimizer, its rate and schedule, how much French to replay, what to freeze: all yours. It is called once, with 20 steps, and has 30
# seconds on one core. Then its perplexity is measured on recipes that you do not see. There is a point for a Thai perplexity of at most
# 100, and one for at most 20. There is one each for a French perplexity of at most 8 and of at most 4, which count only if Thai is at
# most 100. Before, Thai is at about 600 and French below 2.

# %% learn-and-keep
def learn_and_keep(model, thai, french, steps):
    ### BEGIN SOLUTION
    # A quarter of French suffices; chosen on validation recipes among none, a quarter and a half, at three rates each.
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(steps):
        new = thai[torch.randint(len(thai), (6,), generator=generator)]
        old = french[torch.randint(len(french), (2,), generator=generator)]
        batch = torch.cat([new, old])
        optimizer.zero_grad()
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
    return model
    ### END SOLUTION

# %% learn-and-keep-check
from finetunelab import worlds
from finetunelab.skills import perplexity


def rows(name):
    texts = [row["text"] for row in worlds.generator(name).rows(40)]
    ids = [token for text in texts for token in (*tokenizer(text)["input_ids"], tokenizer.eos_token_id)]
    return torch.tensor(ids[: len(ids) // 128 * 128]).view(-1, 128)


trained = learn_and_keep(load_model("nano-small"), rows("thai_recipes"), rows("french_recipes"), 10).eval()
for name in ("thai_recipes", "french_recipes"):
    texts = [row["text"] for row in worlds.generator(name).rows(20, "validation")]
    before, after = perplexity(load_model("nano-small"), tokenizer, texts), perplexity(trained, tokenizer, texts)
    print(f"{name}: perplexity {before:.3g} before, {after:.3g} after 10 steps")
    assert name != "thai_recipes" or after < before
