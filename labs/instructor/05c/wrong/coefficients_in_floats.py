"""Multiplies coefficients and powers out, which overflow and vanish."""


def bound(leaks, attempts, rate, confidence):
    if attempts < 1 or not 0 <= leaks <= attempts or not 0 < rate < 1 or not 0 < confidence < 1:
        raise ValueError("no such attempts, rate or confidence")
    low, high = 0.0, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        tail = sum(math.comb(attempts, i) * middle**i * (1 - middle) ** (attempts - i) for i in range(leaks + 1))
        low, high = (middle, high) if tail >= 1 - confidence else (low, middle)
    return high, math.ceil(math.log1p(-confidence) / math.log1p(-rate))
