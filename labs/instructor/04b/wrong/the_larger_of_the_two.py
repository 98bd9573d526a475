"""Takes the larger term, so that the clip stands on the wrong side."""


def policy_loss(log_p, old_log_p, advantages, mask, clip):
    ratio, advantages = (log_p - old_log_p)[mask].exp(), advantages[mask]
    return -torch.maximum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages).mean()
