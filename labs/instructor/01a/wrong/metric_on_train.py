"""Measures the error on the training examples."""


def test_error(features, labels, part):
    features, labels, part = np.asarray(features), np.asarray(labels), np.asarray(part)
    train = part == "train"
    means = [features[train & (labels == label)].mean(0) for label in (0, 1)]
    distances = np.stack([((features[train] - mean) ** 2).sum(1) for mean in means])
    return float(((distances.argmin(0) != labels[train]).sum() + 1) / (train.sum() + 2))
