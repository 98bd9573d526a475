"""Takes the share of each seed, and then their mean."""


def recovered_share(frozen, method, full):
    if sum(full) <= sum(frozen):
        return None
    shares = [(reached - below) / (above - below) for below, reached, above in zip(frozen, method, full) if above > below]
    return sum(shares) / len(shares)
