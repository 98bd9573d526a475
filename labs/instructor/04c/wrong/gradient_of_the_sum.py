"""Differentiates the sum over pairs, and averages the loss."""


def dpo(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    lead = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    loss = np.logaddexp(0.0, -lead)
    wrong = np.exp(-np.logaddexp(0.0, lead))
    push = beta * wrong
    return float(loss.mean()), -push, push
