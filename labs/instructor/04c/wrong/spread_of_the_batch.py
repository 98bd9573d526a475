"""Divides by the deviation of all scores, whatever their request."""


def relative(scores, group, method):
    if group < 2 or len(scores) % group:
        raise ValueError("no groups")
    grouped = np.asarray(scores, dtype=float).reshape(-1, group)
    above = grouped - grouped.mean(1, keepdims=True)
    return (above * group / (group - 1) if method == "rloo" else above / grouped.std()).ravel()
