"""Lets the truth choose."""


def best_of_n(proxy, truth, n):
    total = len(proxy)
    if not 1 <= n <= total:
        raise ValueError("no such n")
    return float(sum(value * math.comb(rank, n - 1) for rank, value in enumerate(sorted(truth))) / math.comb(total, n))
