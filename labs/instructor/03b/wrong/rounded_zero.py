"""Takes the softmax first and the logarithm of it after, which is minus infinity where the probability was rounded to zero."""


def masked_loss(logits, labels):
    scores, targets = logits[:, :-1], labels[:, 1:]
    counted = targets != -100
    said = scores.softmax(-1)[counted].gather(-1, targets[counted][:, None]).log()
    return -said.sum() / max(1, int(counted.sum()))
