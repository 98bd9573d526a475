"""Divides the accuracies themselves, and not what was gained."""


def recovered_share(frozen, method, full):
    return sum(method) / sum(full) if sum(full) > sum(frozen) else None
