"""Leaves the smaller of the two out, and clips a change in the wrong direction too."""


def policy_loss(log_p, old_log_p, advantages, mask, clip):
    ratio, advantages = (log_p - old_log_p)[mask].exp(), advantages[mask]
    return -(ratio.clamp(1 - clip, 1 + clip) * advantages).mean()
