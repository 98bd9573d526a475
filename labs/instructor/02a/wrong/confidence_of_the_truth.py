"""Takes the probability of the right class for the confidence, whatever class was named."""


def calibration_error(probabilities, labels, bins):
    labels = np.asarray(labels)
    sure, right = probabilities[np.arange(len(labels)), labels], probabilities.argmax(1) == labels
    place = np.minimum((sure * bins).astype(int), bins - 1)
    apart = [abs(sure[place == i].mean() - right[place == i].mean()) * (place == i).sum() for i in np.unique(place)]
    return float(sum(apart) / len(sure))
