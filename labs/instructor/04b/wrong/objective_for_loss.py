"""Returns the objective, which is to go up, as a loss."""


def policy_loss(log_p, old_log_p, advantages, mask, clip):
    ratio, advantages = (log_p - old_log_p)[mask].exp(), advantages[mask]
    return torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages).mean()
