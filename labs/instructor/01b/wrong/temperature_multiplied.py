"""Multiplies the logits by the temperature."""


def sample(logits, temperature, u):
    if temperature == 0:
        return int(np.argmax(logits))
    scaled = np.asarray(logits, dtype=np.float64) * temperature
    weights = np.exp(scaled - scaled.max())
    return min(int(np.searchsorted(np.cumsum(weights) / weights.sum(), u, side="right")), len(weights) - 1)
