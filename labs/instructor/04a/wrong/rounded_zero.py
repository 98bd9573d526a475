"""Takes the probability first and its logarithm after, which is minus infinity where the probability was rounded to zero."""


def preference_loss(chosen, rejected, margin=None):
    lead = chosen - rejected if margin is None else chosen - rejected - margin
    return -torch.sigmoid(lead).log().mean(), -torch.sigmoid(-lead) / len(lead)
