"""Writes the formula down as it stands."""


def dpo(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    lead = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    loss = -np.log(1 / (1 + np.exp(-lead)))
    wrong = 1 / (1 + np.exp(lead))
    push = beta * wrong / len(lead)
    return float(loss.mean()), -push, push
