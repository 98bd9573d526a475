"""Takes the other half's own peak."""


def drop(worth):
    worth = np.asarray(worth, dtype=float)
    halves = worth[:, ::2].mean(1), worth[:, 1::2].mean(1)
    gain = sum(half.max() - half[0] for half in halves)
    lost = sum(half.max() - half[-1] for half in halves)
    return float(lost / gain) if gain > 0 else math.nan
