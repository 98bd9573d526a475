"""Takes the mean of each row and then the mean of these."""

import torch


def masked_loss(logits, labels):
    means = []
    for scores, targets in zip(logits[:, :-1], labels[:, 1:]):
        counted = targets != -100
        if counted.any():
            means.append(-scores.log_softmax(-1)[counted].gather(-1, targets[counted][:, None]).mean())
    return torch.stack(means).mean() if means else torch.tensor(0.0)
