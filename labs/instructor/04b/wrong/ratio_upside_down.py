"""Takes the ratio p / q for q / p."""


def kl_estimates(log_p, reference_log_p, mask):
    d = torch.where(mask, log_p - reference_log_p, 0.0)
    return d.sum(1), (d.exp() - 1 - d).sum(1)
