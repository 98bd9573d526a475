"""Takes whatever comes."""


def relative(scores, group, method):
    found = []
    for start in range(0, len(scores), group):
        own = np.asarray(scores[start : start + group], dtype=float)
        if method == "rloo":
            found += [(value - own.mean()) * group / max(group - 1, 1) for value in own]
        else:
            found += [(value - own.mean()) / own.std() if own.max() > own.min() else 0.0 for value in own]
    return np.array(found)
