"""Lets a reviewer meet themselves."""


def ceilings(chances):
    mean = chances.mean(axis=0)
    agree = mean**2 + (1 - mean) ** 2
    return float(agree.mean()), float(np.maximum(mean, 1 - mean).mean()), float(np.maximum(chances, 1 - chances).mean())
