"""Interpolates in the amount, not in its logarithm."""


def labels_needed(amounts, scores, target):
    first = next((i for i, score in enumerate(scores) if score >= target), None)
    if first is None:
        return float(amounts[-1]), ">"
    if first == 0:
        return float(amounts[0]), "<="
    part = (target - scores[first - 1]) / (scores[first] - scores[first - 1])
    return amounts[first - 1] + part * (amounts[first] - amounts[first - 1]), "="
