"""Counts a response among its own neighbors."""


def relative(scores, group, method):
    if group < 2 or len(scores) % group:
        raise ValueError("no groups")
    grouped = np.asarray(scores, dtype=float).reshape(-1, group)
    above = grouped - grouped.mean(1, keepdims=True)
    if method == "grpo":
        spread = grouped.std(1, keepdims=True)
        above = np.where(spread > 1e-12, above / np.maximum(spread, 1e-12), 0.0)
    return above.ravel()
