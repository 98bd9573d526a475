"""Answers with a size of the table, though the crossing lies between two."""


def crossing(sizes, shown, trained):
    behind = np.flatnonzero(np.median(trained - shown, axis=0) <= 0)
    if not len(behind):
        return float(sizes[0])
    return math.inf if behind[-1] == len(sizes) - 1 else float(sizes[behind[-1] + 1])
