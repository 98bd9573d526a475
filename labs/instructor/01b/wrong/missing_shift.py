"""Compares the logits at a place with the token at that place."""


def next_token_loss(logits, ids, mask):
    log_p = logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0]
    wanted = mask.to(log_p.dtype)
    return -(log_p * wanted).sum() / wanted.sum().clamp(min=1)
