"""Has the sign of the charge the wrong way round."""


def token_rewards(scores, log_p, reference_log_p, mask, weight):
    rewards = torch.where(mask, weight * (log_p - reference_log_p), 0.0)
    rewards[torch.arange(len(scores)), torch.where(mask, torch.arange(mask.shape[1]), -1).amax(1)] += scores
    return rewards
