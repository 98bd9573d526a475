"""Counts all tokens, whatever the mask says."""


def next_token_loss(logits, ids, mask):
    return -logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).mean()
