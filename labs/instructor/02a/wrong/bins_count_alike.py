"""Takes the plain mean over the bins, however many texts they hold."""


def calibration_error(probabilities, labels, bins):
    sure, right = probabilities.max(1), probabilities.argmax(1) == np.asarray(labels)
    place = np.minimum((sure * bins).astype(int), bins - 1)
    return float(np.mean([abs(sure[place == i].mean() - right[place == i].mean()) for i in np.unique(place)]))
