"""Takes the mean of each response, and then the mean of those."""


def policy_loss(log_p, old_log_p, advantages, mask, clip):
    ratio, advantages = torch.where(mask, log_p - old_log_p, 0.0).exp(), torch.where(mask, advantages, 0.0)
    earned = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -(earned.sum(1) / mask.sum(1)).mean()
