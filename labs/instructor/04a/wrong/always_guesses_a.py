"""Guesses a whatever its chance."""


def ceilings(chances):
    n = len(chances)
    agree = sum((a * b + (1 - a) * (1 - b)).mean() for i, a in enumerate(chances) for j, b in enumerate(chances) if i != j) / (n * (n - 1))
    return float(agree), float(chances.mean()), float(np.maximum(chances, 1 - chances).mean())
