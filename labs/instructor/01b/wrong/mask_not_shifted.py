"""Shifts the tokens, but not their mask."""


def next_token_loss(logits, ids, mask):
    log_p = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    wanted = mask[:, :-1].to(log_p.dtype)
    return -(log_p * wanted).sum() / wanted.sum().clamp(min=1)
