"""Scores each token with the logits of its own position."""


def masked_loss(logits, labels):
    counted = labels[:, 1:] != -100
    said = logits[:, 1:].log_softmax(-1)[counted].gather(-1, labels[:, 1:][counted][:, None])
    return -said.sum() / max(1, int(counted.sum()))
