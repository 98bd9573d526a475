"""Adds up the gaps with their signs: too sure in one bin and too timid in another cancel."""


def calibration_error(probabilities, labels, bins):
    sure, right = probabilities.max(1), probabilities.argmax(1) == np.asarray(labels)
    place = np.minimum((sure * bins).astype(int), bins - 1)
    apart = [(sure[place == i].mean() - right[place == i].mean()) * (place == i).sum() for i in np.unique(place)]
    return float(abs(sum(apart)) / len(sure))
