"""Interpolates between the point that reaches the target and the one after it."""


def labels_needed(amounts, scores, target):
    first = next((i for i, score in enumerate(scores) if score >= target), None)
    if first is None:
        return float(amounts[-1]), ">"
    if first == 0:
        return float(amounts[0]), "<="
    low, high = (first, first + 1) if first + 1 < len(scores) else (first - 1, first)
    part = (target - scores[low]) / (scores[high] - scores[low])
    return float(amounts[low] * (amounts[high] / amounts[low]) ** part), "="
