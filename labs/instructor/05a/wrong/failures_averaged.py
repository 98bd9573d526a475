"""Lets a failed training into the mean."""


def crossing(sizes, shown, trained):
    leads = (trained - shown).mean(0)
    behind = np.flatnonzero(leads <= 0)
    if not len(behind):
        return float(sizes[0])
    last = behind[-1]
    if last == len(leads) - 1:
        return math.inf
    x = np.log2(sizes)
    return float(2 ** (x[last] - leads[last] / (leads[last + 1] - leads[last]) * (x[last + 1] - x[last])))
