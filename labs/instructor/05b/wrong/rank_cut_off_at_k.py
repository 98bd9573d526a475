"""Gives no credit for a rank beyond k."""


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
    return float(first.any(1).mean()), float(shares.mean()), float(np.where(first.any(1), 1 / (ranked.argmax(1) + 1), 0.0).mean())
