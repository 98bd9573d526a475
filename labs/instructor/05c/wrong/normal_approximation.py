"""Adds standard errors to the share, which is nothing without a leak."""


def bound(leaks, attempts, rate, confidence):
    if attempts < 1 or not 0 <= leaks <= attempts or not 0 < rate < 1 or not 0 < confidence < 1:
        raise ValueError("no such attempts, rate or confidence")
    from statistics import NormalDist

    share = leaks / attempts
    upper = share + NormalDist().inv_cdf(confidence) * math.sqrt(share * (1 - share) / attempts)
    return min(1.0, upper), math.ceil(math.log1p(-confidence) / math.log1p(-rate))
