"""Gives a confidence of exactly one a bin of its own."""


def calibration_error(probabilities, labels, bins):
    sure, right = probabilities.max(1), probabilities.argmax(1) == np.asarray(labels)
    place = (sure * bins).astype(int)
    apart = [abs(sure[place == i].mean() - right[place == i].mean()) * (place == i).sum() for i in np.unique(place)]
    return float(sum(apart) / len(sure))
