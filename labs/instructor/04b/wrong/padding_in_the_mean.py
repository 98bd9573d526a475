"""Divides by all tokens, padding included."""


def policy_loss(log_p, old_log_p, advantages, mask, clip):
    ratio, advantages = torch.where(mask, log_p - old_log_p, 0.0).exp(), torch.where(mask, advantages, 0.0)
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages).mean()
