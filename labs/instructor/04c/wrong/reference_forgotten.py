"""Leaves the reference out."""


def dpo(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    lead = beta * (policy_chosen - policy_rejected)
    loss = np.logaddexp(0.0, -lead)
    wrong = np.exp(-np.logaddexp(0.0, lead))
    push = beta * wrong / len(lead)
    return float(loss.mean()), -push, push
