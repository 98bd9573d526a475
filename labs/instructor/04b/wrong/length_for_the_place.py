"""Takes the number of a response's tokens for the place of its last one, as if there were no request before it."""


def token_rewards(scores, log_p, reference_log_p, mask, weight):
    rewards = torch.where(mask, -weight * (log_p - reference_log_p), 0.0)
    rewards[torch.arange(len(scores)), mask.sum(1) - 1] += scores
    return rewards
