"""Scores each token by the logits at its own place."""


def surprises(logits, ids):
    log_p = logits[1:].log_softmax(-1).gather(-1, ids[1:, None])[:, 0]
    return -log_p / math.log(2)
