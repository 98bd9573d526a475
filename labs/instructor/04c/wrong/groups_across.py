"""Takes every group-th response for the same request."""


def relative(scores, group, method):
    if group < 2 or len(scores) % group:
        raise ValueError("no groups")
    grouped = np.asarray(scores, dtype=float).reshape(group, -1)
    above = grouped - grouped.mean(0)
    if method == "rloo":
        return (above * group / (group - 1)).ravel()
    same = grouped.max(0) == grouped.min(0)
    return np.where(same, 0.0, above / np.where(same, 1.0, grouped.std(0))).ravel()
