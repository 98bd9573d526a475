"""Adds the margin where it is to be taken away."""


def preference_loss(chosen, rejected, margin=None):
    lead = chosen - rejected if margin is None else chosen - rejected + margin
    return torch.nn.functional.softplus(-lead).mean(), -torch.sigmoid(-lead) / len(lead)
