"""Calls it complete when k right ones were found."""


def found(scores, right, k):
    if k < 1:
        raise ValueError("no k")
    asked = right.any(1)
    if not asked.any():
        return math.nan, math.nan, math.nan
    order = np.lexsort((right[asked], -scores[asked]), axis=1)
    ranked = np.take_along_axis(right[asked], order, axis=1)
    first = ranked[:, :k]
    shares = first.sum(1) / np.minimum(ranked.sum(1), k)
    return float(first.any(1).mean()), float(shares.mean()), float((1 / (ranked.argmax(1) + 1)).mean())
