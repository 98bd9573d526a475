"""Counts a question that nothing answers as one that was missed."""


def found(scores, right, k):
    if k < 1:
        raise ValueError("no k")
    asked = right.any(1)
    if not asked.any():
        return math.nan, math.nan, math.nan
    order = np.lexsort((right[asked], -scores[asked]), axis=1)
    ranked = np.take_along_axis(right[asked], order, axis=1)
    first = ranked[:, :k]
    shares = first.sum(1) / ranked.sum(1)
    values = first.any(1), shares, 1 / (ranked.argmax(1) + 1)
    return tuple(float(value.sum() / len(scores)) for value in values)
