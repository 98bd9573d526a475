"""Returns means over tokens, not sums."""


def kl_estimates(log_p, reference_log_p, mask):
    d = torch.where(mask, log_p - reference_log_p, 0.0)
    n = mask.sum(1)
    return d.sum(1) / n, ((-d).exp() - 1 + d).sum(1) / n
