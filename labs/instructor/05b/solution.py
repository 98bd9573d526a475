# %% title [markdown]
# # 05b Retrieval: exercises
#
# Five functions on the way from a document to an answer with its source. The first four take five to twenty lines each; the last one is
# open. Nothing is trained here, and no language model is needed.
#
# **How it works.** Replace each line `raise NotImplementedError(...)` by your code and run the cell. The cell below it checks some of
# what is asked for; if it stays silent, go on. Hand in this notebook. It is then asked more questions than you see here, such as edge
# cases and random inputs. The points stand behind each title, 30 in all.
#
# Keep the names and the arguments of the functions. You may add cells, imports and functions of your own. Each exercise is marked by
# itself: one that fails costs nothing elsewhere.

# %% imports
import math
import re

import numpy as np

# %% found-text [markdown]
# ## 1. Was it found? (6 points)
#
# Most questions have one right passage. Some have several, such as the rule and the notice board that repeats it; and then "recall" may
# mean two things.
#
# Write `found(scores, right, k)`. Both are arrays of shape (questions, passages): `scores` says how near a passage is to a question, larger
# is nearer, and `right` is True where it answers it. Return three numbers, each a mean over the questions:
#
# 1. the hit rate: whether at least one right passage is among the first k (this is what the lab calls recall@k);
# 2. recall@k in the strict sense: of the right passages, the share that is among the first k;
# 3. the reciprocal rank: one divided by the rank of the first right passage, whether or not it is among the first k.
#
# Passages with equal scores are counted against you: the wrong ones among them stand before the right ones. (An embedder that maps every
# text to one point must not look good.) A question without any right passage says nothing about the search, and is left out everywhere; if
# no question is left, return three times `nan`. k may be larger than the number of passages; a `ValueError` is due if it is smaller than 1.

# %% found
def found(scores, right, k):
    """Return hit rate and recall among the first k, and the mean reciprocal rank, with ties counted against."""
    ### BEGIN SOLUTION
    if k < 1:
        raise ValueError(f"nothing is among the first {k}")
    scores, right = np.asarray(scores, dtype=float), np.asarray(right, dtype=bool)
    asked = right.any(1)
    if not asked.any():
        return math.nan, math.nan, math.nan
    # By falling score, and among equals the wrong ones first.
    order = np.lexsort((right[asked], -scores[asked]), axis=1)
    ranked = np.take_along_axis(right[asked], order, axis=1)
    first = ranked[:, :k]
    shares = first.sum(1) / ranked.sum(1)
    return float(first.any(1).mean()), float(shares.mean()), float((1 / (ranked.argmax(1) + 1)).mean())
    ### END SOLUTION

# %% found-check
scores = np.array([[0.9, 0.5, 0.7, 0.1], [0.2, 0.8, 0.8, 0.3]])
right = np.array([[False, True, True, False], [False, True, False, False]])
assert np.allclose(found(scores, right, 2), (1.0, (1 / 2 + 1) / 2, 1 / 2))
assert np.allclose(found(scores, right, 1), (0.0, 0.0, 1 / 2))

# %% loss-text [markdown]
# ## 2. Wrong answers that are right (7 points)
#
# The contrastive loss takes every other passage of the batch for a wrong answer. Some of them are right: two articles state the same fact.
# To push them away is to teach a mistake.
#
# Write `loss(questions, passages, also_right, temperature)`. The first two are arrays of shape (pairs, width); row i of one belongs to row
# i of the other. Their rows may have any length other than zero: likeness is the *cosine* of the angle between two of them, divided by the
# temperature. `also_right` of shape (pairs, pairs) is True where passage j answers question i as well.
#
# - A question's loss is $-\log$ of the share that its own passage has of $\sum_j e^{\text{likeness}}$ over the passages. Passages that also
#   answer it are left out of the sum, all but its own.
# - A passage's loss is the same about the questions: those that it also answers are left out, all but its own.
#
# Return one number in nats: the mean over all questions and all passages. A pair is never left out of its own sum, whatever
# `also_right` says about it: a table of which passage states which fact is True there by itself. The temperature may be as small as
# 0.0001, and must give neither `inf` nor `nan`, nor a warning. The arrays stay as they are.

# %% loss
def loss(questions, passages, also_right, temperature):
    """Return the contrastive loss of a batch in nats, both ways, without the false wrong answers."""
    ### BEGIN SOLUTION
    questions, passages = (
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (np.asarray(questions, float), np.asarray(passages, float))
    )
    likeness = questions @ passages.T / temperature
    likeness[np.asarray(also_right, bool) & ~np.eye(len(likeness), dtype=bool)] = -np.inf
    own = likeness.diagonal()
    both = []
    for axis in (1, 0):
        highest = likeness.max(axis, keepdims=True)  # never -inf: the own one is there
        both.append(highest.squeeze(axis) + np.log(np.exp(likeness - highest).sum(axis)) - own)
    return float(np.mean(both))
    ### END SOLUTION

# %% loss-check
q = np.array([[2.0, 0.0], [0.0, 1.0]])
apart, none, twins = np.zeros((2, 2), bool), q, np.array([[True, True], [False, True]])
assert abs(loss(q, q, apart, 1.0) - math.log(1 + math.exp(-1))) < 1e-9
assert abs(loss(q, q, twins, 1.0) - math.log(1 + math.exp(-1)) / 2) < 1e-9  # passage 1 is no wrong answer to question 0

# %% chunks-text [markdown]
# ## 3. Nothing may be lost (6 points)
#
# A document is cut into chunks that an embedder can read. What stands on a border must be whole in one of them, so a chunk repeats the end
# of the one before it.
#
# Write `chunks(sentences, most, overlap)`. `sentences` is a list of texts. Return a list of texts, each of at most `most` words. Words are
# what white space divides, and in a chunk single spaces divide them.
#
# - A sentence that has more than `most` words is cut first, into pieces of `most` words, the last of which may be shorter. From then on its
#   pieces are sentences like the others. A sentence without words is none.
# - A chunk takes sentences in their order as long as all of the next one fits. When it does not, the chunk is finished, and the next one
#   begins.
# - It begins with the last sentences of the chunk before it, whole ones: as many of them as have at most `overlap` words together *and*
#   leave room for the next sentence. That may be none. Then comes the next sentence, and so on.
#
# The last chunk ends with the last sentence. A document without words has no chunks. Raise a `ValueError` unless `overlap` is at least 0
# and smaller than `most`.

# %% chunks
def chunks(sentences, most, overlap):
    """Return the chunks of a document, every sentence whole in one of them, with whole sentences repeated."""
    ### BEGIN SOLUTION
    if not 0 <= overlap < most:
        raise ValueError(f"chunks of {most} words cannot repeat {overlap}")
    pieces = []
    for sentence in sentences:
        words = sentence.split()
        pieces += [words[start : start + most] for start in range(0, len(words), most)]

    def size(held):
        return sum(map(len, held))

    done, held = [], []
    for piece in pieces:
        if size(held) + len(piece) > most:
            done.append(held)
            while size(held) > min(overlap, most - len(piece)):
                held = held[1:]
        held = [*held, piece]
    done += [held] if held else []
    return [" ".join(word for piece in held for word in piece) for held in done]
    ### END SOLUTION

# %% chunks-check
text = ["The gate is locked at ten.", "Ann locks it.", "Keys hang in the hall.", "Do not lend them."]
assert chunks(text, 10, 4) == [
    "The gate is locked at ten. Ann locks it.", "Ann locks it. Keys hang in the hall.", "Do not lend them.",
]
assert chunks(["one two three four five six seven", "eight"], 3, 1) == ["one two three", "four five six", "seven eight"]

# %% answer-text [markdown]
# ## 4. Who says so? (6 points)
#
# A reader saw some passages, numbered from 1, and wrote an answer with the number of its source: `Mira Tal [2]`. Nothing makes it keep to
# them. It may add what no passage says, and name a source that says something else.
#
# Write `checked(said, passages)`. `said` is what it wrote, `passages` is the list of texts. Return the answer and its source, taken apart
# and checked.
#
# - Only the first line of `said` counts that holds more than white space; later ones are made up.
# - The source is a number in brackets at the end of the line, digits only. White space may follow it, and one full stop. What
#   stands in brackets elsewhere belongs to the answer.
# - The answer is what stands before the source, or the whole line if it names none, without white space and full stops at its end
#   and without white space at its beginning.
# - A passage *says* the answer if it holds it word for word; capitals make no difference, and any white space is as good as another. It
#   must not be a part of a word or of a number. So no letter, digit or underscore stands next to it on either side: "ma" is not said by
#   "map". And "5" is said neither by "1.5" nor by "5,000": a point or a comma between two digits belongs to the number.
# - If no passage says the answer, or nothing is left of it, return `("not said", None)`.
# - Otherwise return the answer as the reader wrote it, and as source the number that it named if that passage is there and says it;
#   else None.

# %% answer
def checked(said, passages):
    """Return the answer and the number of its source, as far as passages say the one and the source says the other."""
    ### BEGIN SOLUTION
    line = (said.strip().splitlines() or [""])[0]
    named = re.search(r"\[(\d+)\]\s*\.?\s*$", line)
    answer = re.sub(r"[\s.]+$", "", line[: named.start()] if named else line).strip()
    words = r"\s+".join(map(re.escape, answer.split()))
    # No word goes on, and no number does.
    whole = re.compile(rf"(?<!\w)(?<!\d[.,](?=\d)){words}(?!\w)(?!(?<=\d)[.,]\d)", re.IGNORECASE)
    saying = [number for number, passage in enumerate(passages, 1) if answer and whole.search(passage)]
    if not saying:
        return "not said", None
    return answer, int(named[1]) if named and int(named[1]) in saying else None
    ### END SOLUTION

# %% answer-check
shown = ["The gate is locked by Mira Tal at ten.", "Lunch costs 12.5 crowns;\nask Tom for the map."]
assert checked(" Mira Tal [1]\nQuestion: Who", shown) == ("Mira Tal", 1)
assert checked("mira tal. [2].", shown) == ("mira tal", None)
assert checked("ma [2]", shown) == checked("5 [2]", shown) == checked("Ben Tal [1]", shown) == ("not said", None)

# %% fuse-text [markdown]
# ## 5. Two searches are better than one (5 points)
#
# One search counts words, one compares vectors. Half of the questions are worded like their passage, and words find it. The others are
# worded otherwise, and vectors find it. Nobody tells you which is which. And each search has its own manner: words give longer questions
# higher scores, and some passages are near to everything.
#
# Write `fuse(words, vectors)`. Both are arrays of shape (questions, passages), the scores of the two searches. Return one array of that
# shape. It is marked by recall@1 on four draws that you do not see, made by the same function as the one below: how often the one right
# passage has the highest score, and no other has the same. There is a point for an answer in the right form, one for 0.52, one for 0.66,
# and two for 0.74. A call may take ten seconds.
#
# Before you write: draw the mean score of each passage over all questions, for both searches. What would a search that knows nothing of the
# question look like?

# %% fuse
def fuse(words, vectors):
    """Return scores that make the best of two searches."""
    ### BEGIN SOLUTION
    def standing_out(scores, axis):
        return (scores - scores.mean(axis, keepdims=True)) / (scores.std(axis, keepdims=True) + 1e-12)

    words, vectors = np.asarray(words, dtype=float), np.asarray(vectors, dtype=float)
    # A passage that is near to everything tells nothing: what counts is how much nearer it is than usual. A search that is sure says so
    # by how far one passage stands out among all for this question.
    return standing_out(words, 1) + standing_out(vectors - vectors.mean(0), 1)
    ### END SOLUTION

# %% fuse-check
def search(seed, questions=300, passages=100):
    """Return the scores of two searches, and the right passage of each question."""
    rng = np.random.default_rng(seed)
    right, by_words = rng.integers(passages, size=questions), rng.random(questions) < 0.5
    own = (np.arange(questions), right)
    words = rng.gamma(2, 1, size=(questions, passages)) * (rng.random((questions, passages)) < 0.4)
    words[own] += np.where(by_words, rng.normal(9, 2, size=questions), rng.gamma(2, 1, size=questions))
    words *= rng.uniform(0.5, 5, size=(questions, 1))  # long questions and short ones
    near = rng.normal(size=(questions, passages))
    near[own] += np.where(by_words, rng.normal(1, 1, size=questions), rng.normal(4.5, 1, size=questions))
    near += 1.5 * rng.normal(size=passages)  # some passages are near to everything
    return words, 0.7 + 0.02 * near, right


def recall(scores, right):
    return np.mean((scores >= scores[np.arange(len(right)), right][:, None]).sum(1) == 1)


words, vectors, right = search(0)
print(f"yours {recall(fuse(words, vectors), right):.2f}")
by_rank = sum(1 / (61 + (-scores).argsort(1).argsort(1)) for scores in (words, vectors))
for name, one in {"words alone": words, "vectors alone": vectors, "sum of scores": words + vectors, "reciprocal ranks": by_rank}.items():
    print(f"{name:16} {recall(one, right):.2f}")
