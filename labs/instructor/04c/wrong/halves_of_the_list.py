"""Splits in the middle."""


def drop(worth):
    worth = np.asarray(worth, dtype=float)
    middle = worth.shape[1] // 2
    halves = worth[:, :middle].mean(1), worth[:, middle:].mean(1)
    gain = lost = 0.0
    for picked, measured in (halves, halves[::-1]):
        peak = int(picked.argmax())
        gain += measured[peak] - measured[0]
        lost += measured[peak] - measured[-1]
    return float(lost / gain) if gain > 0 else math.nan
