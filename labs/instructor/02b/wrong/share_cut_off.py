"""Cuts the share off at nothing and at all."""


def recovered_share(frozen, method, full):
    gain = sum(full) - sum(frozen)
    return min(1.0, max(0.0, (sum(method) - sum(frozen)) / gain)) if gain > 0 else None
