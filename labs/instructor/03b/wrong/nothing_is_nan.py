"""Takes the mean of nothing where nothing counts."""


def masked_loss(logits, labels):
    scores, targets = logits[:, :-1], labels[:, 1:]
    counted = targets != -100
    return -scores.log_softmax(-1)[counted].gather(-1, targets[counted][:, None]).mean()
