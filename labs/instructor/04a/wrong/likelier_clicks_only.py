"""Lets every reviewer click what is likelier for them, as if nobody ever wavered."""


def ceilings(chances):
    n, firm = len(chances), np.where(chances >= 0.5, 1.0, 0.0)
    agree = sum((a == b).mean() for i, a in enumerate(firm) for j, b in enumerate(firm) if i != j) / (n * (n - 1))
    mean = chances.mean(axis=0)
    return float(agree), float(np.maximum(mean, 1 - mean).mean()), float(np.maximum(chances, 1 - chances).mean())
