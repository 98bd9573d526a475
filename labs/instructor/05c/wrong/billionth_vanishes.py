"""Subtracts a tiny rate from one before it takes the logarithm."""


def bound(leaks, attempts, rate, confidence):
    if attempts < 1 or not 0 <= leaks <= attempts or not 0 < rate < 1 or not 0 < confidence < 1:
        raise ValueError("no such attempts, rate or confidence")
    doubt = math.log1p(-confidence)
    number = math.ceil(doubt / math.log(1 - rate))
    if leaks == attempts:
        return 1.0, number
    i = np.arange(leaks + 1)
    ways = np.concatenate([[0.0], np.log((attempts - i[:-1]) / i[1:]).cumsum()])
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        terms = ways + i * math.log(middle) + (attempts - i) * math.log1p(-middle)
        likely = terms.max() + math.log(np.exp(terms - terms.max()).sum()) >= doubt
        low, high = (middle, high) if likely else (low, middle)
    return low, number
