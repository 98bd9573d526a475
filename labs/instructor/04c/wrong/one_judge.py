"""Trusts the first judge."""


def pick(scores):
    return np.asarray(scores)[..., 0].argmax(1)
