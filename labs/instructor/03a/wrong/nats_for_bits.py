"""Returns nats, not bits."""


def surprises(logits, ids):
    return -logits[:-1].log_softmax(-1).gather(-1, ids[1:, None])[:, 0]
