"""Picks the peak, and measures it, on the same requests."""


def drop(worth):
    worth = np.asarray(worth, dtype=float)
    mean = worth.mean(1)
    gain, lost = mean.max() - mean[0], mean.max() - mean[-1]
    return float(lost / gain) if gain > 0 else math.nan
