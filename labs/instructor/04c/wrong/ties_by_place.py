"""Breaks ties by the place in the list."""


def best_of_n(proxy, truth, n):
    total = len(proxy)
    if not 1 <= n <= total:
        raise ValueError("no such n")
    order = np.argsort(proxy, kind="stable")
    return float(sum(truth[place] * math.comb(rank, n - 1) / math.comb(total, n) for rank, place in enumerate(order)))
