"""Takes half the square, which is never negative either, and does not have the KL for its mean."""


def kl_estimates(log_p, reference_log_p, mask):
    d = torch.where(mask, log_p - reference_log_p, 0.0)
    return d.sum(1), 0.5 * d.square().sum(1)
