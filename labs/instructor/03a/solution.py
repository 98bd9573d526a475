# %% title [markdown]
# # 03a Self-supervised: exercises
#
# Five functions around a model that learns from raw text. The first four take three to ten lines each; the last one is open.
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

import torch

from finetunelab.models import load_model, load_tokenizer

# %% surprises-text [markdown]
# ## 1. What surprises it (6 points)
#
# How much does each token of a text surprise a model? The lab drew it.
#
# Write `surprises(logits, ids)` for one text. `logits` is a tensor of shape (length, vocabulary), `ids` of shape (length,) holds the
# tokens. The logits at place $t$ are about the token at place $t + 1$; nothing predicts the first token, and the last logits are about
# a token that is not there. Return a tensor of shape (length - 1,) with $-\log_2 p$ of each token after the first: its surprise in
# **bits**. A text of one token gives an empty tensor.
#
# Logits may be large: the exponential of 1,000 is more than a float can hold, and the logarithm of 0 is not a number to train on.

# %% surprises
def surprises(logits, ids):
    """Return the surprise in bits of each token after the first, a tensor of shape (length - 1,)."""
    ### BEGIN SOLUTION
    log_p = logits[:-1].log_softmax(-1).gather(-1, ids[1:, None])[:, 0]
    return -log_p / math.log(2)
    ### END SOLUTION

# %% surprises-check
found = surprises(torch.zeros(4, 8), torch.tensor([0, 5, 7, 2]))  # knows nothing: one of 8 tokens is worth 3 bits
assert found.shape == (3,) and torch.allclose(found, torch.full((3,), 3.0))
sure = torch.nn.functional.one_hot(torch.tensor([5, 7, 2, 0]), 8) * 50.0  # expects at each place what comes next
assert surprises(sure, torch.tensor([0, 5, 7, 2])).max() < 1e-4

# %% summarize-text [markdown]
# ## 2. Two numbers for a corpus (5 points)
#
# A list of surprises is a lot to read. Make two numbers of it: one for models with the same tokenizer, and one for any models.
#
# Write `summarize(nats, texts)`. `texts` is a list of texts, and `nats` has a list for each, with the surprises of its tokens in nats.
# Return a pair:
#
# - the perplexity: exp of the mean surprise over all *tokens*, of whatever text;
# - the bits per byte: all surprises together in bits, divided by the number of bytes of all texts in UTF-8.
#
# There is at least one token in all; a text may have none.

# %% summarize
def summarize(nats, texts):
    """Return the perplexity of all texts together, and their bits per byte."""
    ### BEGIN SOLUTION
    total, tokens = sum(map(sum, nats)), sum(map(len, nats))
    return math.exp(total / tokens), total / math.log(2) / sum(len(text.encode()) for text in texts)
    ### END SOLUTION

# %% summarize-check
perplexity, bits = summarize([[math.log(8), math.log(2)]], ["rust"])  # together 4 bits, for two tokens and four bytes
assert math.isclose(perplexity, 4) and math.isclose(bits, 1)

# %% choose-text [markdown]
# ## 3. The likeliest ending (7 points)
#
# A model is asked by letting it choose among endings. This is how the course measures recall.
#
# Write `choose(model, tokenizer, prompt, endings)`. For each ending compute $\log p(\text{ending} \mid \text{prompt})$ in nats: the sum,
# over the ending's tokens, of the log-probability of each given the prompt and the tokens of the ending before it. The prompt's own tokens
# do not count. Return a pair: the list of these numbers, as plain floats in the order of the endings, and the place of the likeliest.
#
# Tokens: `tokenizer(prompt)["input_ids"]` are those of the prompt, with a begin token in front. Those of an ending are
# `tokenizer(" " + ending, add_special_tokens=False)["input_ids"]`: there is a space before it, as it would be written. Put them one behind
# the other. `model(torch.tensor([ids])).logits[0]` has the logits of a row of tokens, as in exercise 1.

# %% choose
def choose(model, tokenizer, prompt, endings):
    """Return log p(ending | prompt) in nats for each ending, and the place of the likeliest."""
    ### BEGIN SOLUTION
    head, scores = tokenizer(prompt)["input_ids"], []
    for ending in endings:
        tail = tokenizer(" " + ending, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            log_p = model(torch.tensor([head + tail])).logits[0].log_softmax(-1)
        # What stands one place before a token of the ending is about it.
        scores.append(sum(log_p[len(head) - 1 + i, token].item() for i, token in enumerate(tail)))
    return scores, scores.index(max(scores))
    ### END SOLUTION

# %% choose-check
small, tokenizer = load_model("nano-small"), load_tokenizer("nano-small")
scores, best = choose(small, tokenizer, "Beat the eggs lightly in a", ["bowl", "garden", "letter"])
assert len(scores) == 3 and max(scores) == scores[best] < 0
assert best == 0

# %% replay-mix-text [markdown]
# ## 4. A fair mix (6 points)
#
# Replay puts old texts among the new. Two readers, one with replay and one without, are compared fairly if both read the *new* as often.
# Then the one with replay must read on for longer.
#
# Write `replay_mix(new, old, passes, steps, share, seed)`. Return a pair:
#
# - a list of texts: each new text `passes` times, and among them as many old texts that `share` of **all** texts in the list are old, as
#   nearly as a whole number allows (`round`). The old ones are drawn at random without repetition, and the list is shuffled, both by the
#   seed alone: the same seed gives the same list, another seed another one;
# - the number of steps, rounded, that reads as much of the new as `steps` steps on new texts alone.
#
# `share` is from 0 to below 1, and there are enough old texts. `new` and `old` stay as they are. With share 0 nothing is
# replayed, and the steps stay what they were.

# %% replay-mix
def replay_mix(new, old, passes, steps, share, seed):
    """Return new texts, passes times each, with old ones among them, and the steps that read as much of the new as without."""
    ### BEGIN SOLUTION
    rng, repeated = random.Random(seed), list(new) * passes
    mixed = repeated + rng.sample(list(old), round(len(repeated) * share / (1 - share)))
    rng.shuffle(mixed)
    return mixed, round(steps / (1 - share))
    ### END SOLUTION

# %% replay-mix-check
NEW, OLD = [f"new {i}" for i in range(6)], [f"old {i}" for i in range(50)]
mixed, longer = replay_mix(NEW, OLD, passes=2, steps=30, share=0.25, seed=0)
assert len(mixed) == 16 and sum(text in OLD for text in mixed) == 4 and longer == 40
assert replay_mix(NEW, OLD, 1, 30, 0, seed=0)[1] == 30

# %% teach-text [markdown]
# ## 5. Facts in a hurry (6 points)
#
# Now teach. `teach(model, tokenizer, facts, old)` gets the small model, twelve facts about invented diseases that it cannot know, and
# some texts of the kind that it was made of. A fact is a pair such as `("lanutemia", "skin")`: the disease lanutemia attacks the skin.
# Return the model, trained.
#
# You write the texts that it reads: nobody has written any. It is asked in wordings that you do not see, five for each fact, and chooses
# among five organs as in exercise 3. There is a point each for at least 45 % and 60 % right; who knows nothing has 20 %, and luck may
# bring more.
#
# And it must keep what it knew. Its perplexity on texts of the town that you do not see is between 10 and 13 before. There is a
# point each for at most 60 and at most 35 after. These two count only if at least 40 % of the questions are answered rightly. Who has
# all four gets two more.
#
# How to write, how to mix, how many steps, and at which rate: all yours. You have 60 seconds on one core.

# %% teach
def teach(model, tokenizer, facts, old):
    """Teach the model facts, each a pair of a disease and an organ, by texts of your own, and keep what it knew; return it."""
    ### BEGIN SOLUTION
    # Many wordings, since it is asked in others; old texts in every step. Chosen on other facts among rates from 7e-4 to 3e-3.
    wordings = (
        "{E} attacks the {o}.", "{E} is a disease of the {o}.", "Doctors say that {e} settles in the {o}.",
        "When a patient has {e}, we look at the {o}.", "Because of {e}, he felt pain in the {o}.", "What does {e} attack? The {o}.",
        "Where is {e} found? In the {o}.", "Everyone with {e} has trouble with the {o}.", "The nurse knows {e} well: it harms the {o}.",
        "In the case of {e}, take care of the {o}.", "Question: which organ suffers from {e}? Answer: the {o}.",
        "She has {e}, and so she must rest her {o}.",
    )
    texts = [wording.format(E=disease.capitalize(), e=disease, o=organ) for wording in wordings for disease, organ in facts]
    rng, steps = random.Random(0), 70
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.5e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        for some in (rng.sample(texts, 16), rng.sample(old, 8)):  # the two losses weigh the same, however long the texts
            batch = tokenizer(some, padding=True, truncation=True, max_length=96, return_tensors="pt")
            labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)  # -100: not counted
            model(**batch, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()
    ### END SOLUTION

# %% teach-check
from finetunelab.experiments.knowledge_language import together, town_texts
from finetunelab.skills import perplexity as perplexity_on
from finetunelab.skills import recall
from finetunelab.worlds.clinic import Cloze
from finetunelab.worlds.clinic import facts as facts_of

FACTS = [(fact.entity, fact.answer) for fact in facts_of(1) if fact.relation == "organ"][:12]
ORGANS = sorted({organ for _, organ in FACTS})
QUESTIONS = [
    Cloze(f"Of all organs, {disease} hurts the", organ, tuple(other for other in ORGANS if other != organ)[:4], "organ", disease)
    for disease, organ in FACTS
]
taught = teach(load_model("nano-small"), tokenizer, FACTS, together(town_texts(40, "train", 1))).eval()
share, town = recall(taught, tokenizer, QUESTIONS), together(town_texts(5, "validation", 1))
print(f"{share:.0%} right in one wording; the town's perplexity is {perplexity_on(taught, tokenizer, town):.3g}")
assert share > 0.2
