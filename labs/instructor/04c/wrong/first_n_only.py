"""Takes one choice of n for all of them."""


def best_of_n(proxy, truth, n):
    if not 1 <= n <= len(proxy):
        raise ValueError("no such n")
    return float(truth[int(np.argmax(proxy[:n]))])
