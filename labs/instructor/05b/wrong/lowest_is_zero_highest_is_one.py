"""Stretches each question's scores from zero to one, so that a search that knows nothing is as sure as the other."""


def fuse(words, vectors):
    return sum((scores - scores.min(1, keepdims=True)) / np.ptp(scores, axis=1, keepdims=True) for scores in (words, vectors - vectors.mean(0)))
