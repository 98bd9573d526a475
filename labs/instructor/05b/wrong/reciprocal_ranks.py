"""Adds reciprocal ranks up, and does not ask who is always near."""


def fuse(words, vectors):
    return sum(1 / (61 + (-scores).argsort(1).argsort(1)) for scores in (words, vectors))
