"""Pays the score in the last column, where short responses have padding."""


def token_rewards(scores, log_p, reference_log_p, mask, weight):
    rewards = torch.where(mask, -weight * (log_p - reference_log_p), 0.0)
    rewards[:, -1] += scores
    return rewards
