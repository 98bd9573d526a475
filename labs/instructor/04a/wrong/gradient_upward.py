"""Gives the direction in which the chosen score should move, which is against the gradient."""


def preference_loss(chosen, rejected, margin=None):
    lead = chosen - rejected if margin is None else chosen - rejected - margin
    return torch.nn.functional.softplus(-lead).mean(), torch.sigmoid(-lead) / len(lead)
