"""Divides before it adds up."""


def drop(worth):
    worth = np.asarray(worth, dtype=float)
    halves, shares = (worth[:, ::2].mean(1), worth[:, 1::2].mean(1)), []
    for picked, measured in (halves, halves[::-1]):
        peak = int(picked.argmax())
        gain = measured[peak] - measured[0]
        if gain <= 0:
            return math.nan
        shares.append((measured[peak] - measured[-1]) / gain)
    return float(np.mean(shares))
