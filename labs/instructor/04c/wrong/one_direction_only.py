"""Leaves the second half's peak out."""


def drop(worth):
    worth = np.asarray(worth, dtype=float)
    picked, measured = worth[:, ::2].mean(1), worth[:, 1::2].mean(1)
    peak = int(picked.argmax())
    gain = measured[peak] - measured[0]
    return float((measured[peak] - measured[-1]) / gain) if gain > 0 else math.nan
