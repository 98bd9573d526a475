"""Forgets that the clip has a lower edge."""


def policy_loss(log_p, old_log_p, advantages, mask, clip):
    ratio, advantages = (log_p - old_log_p)[mask].exp(), advantages[mask]
    return -torch.minimum(ratio * advantages, ratio.clamp(max=1 + clip) * advantages).mean()
