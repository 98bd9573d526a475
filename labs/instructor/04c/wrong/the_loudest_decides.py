"""Averages judges whose scales differ."""


def pick(scores):
    return np.asarray(scores).mean(-1).argmax(1)
