"""Divides by all tokens, those that do not count too."""


def masked_loss(logits, labels):
    scores, targets = logits[:, :-1], labels[:, 1:]
    counted = targets != -100
    return -scores.log_softmax(-1)[counted].gather(-1, targets[counted][:, None]).sum() / targets.numel()
