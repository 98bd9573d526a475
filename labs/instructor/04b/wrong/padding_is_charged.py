"""Charges requests and padding too."""


def token_rewards(scores, log_p, reference_log_p, mask, weight):
    rewards = -weight * (log_p - reference_log_p)
    rewards[torch.arange(len(scores)), torch.where(mask, torch.arange(mask.shape[1]), -1).amax(1)] += scores
    return rewards
