"""Counts the choices among those below, the response itself included."""


def best_of_n(proxy, truth, n):
    proxy, truth = np.asarray(proxy, dtype=float), np.asarray(truth, dtype=float)
    total = len(proxy)
    if not 1 <= n <= total:
        raise ValueError("no such n")
    weights = {value: math.comb(int((proxy <= value).sum()), n) for value in np.unique(proxy)}
    return float(sum(weight * truth[proxy == value].mean() for value, weight in weights.items()) / sum(weights.values()))
