"""Takes a loss that is a gain for none, and divides by what may be nothing."""


def drop(worth):
    worth = np.asarray(worth, dtype=float)
    halves = worth[:, ::2].mean(1), worth[:, 1::2].mean(1)
    gain = lost = 0.0
    for picked, measured in (halves, halves[::-1]):
        peak = int(picked.argmax())
        gain += measured[peak] - measured[0]
        lost += max(measured[peak] - measured[-1], 0.0)
    return float(lost / max(gain, 1e-9))
