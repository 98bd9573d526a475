"""Puts a response back after it was drawn."""


def best_of_n(proxy, truth, n):
    proxy, truth = np.asarray(proxy, dtype=float), np.asarray(truth, dtype=float)
    total = len(proxy)
    if not 1 <= n <= total:
        raise ValueError("no such n")
    found = 0.0
    for value in np.unique(proxy):
        below, upto = (proxy < value).sum(), (proxy <= value).sum()
        found += ((upto / total) ** n - (below / total) ** n) * truth[proxy == value].mean()
    return float(found)
