"""Takes the class whose mean is farther."""


def test_error(features, labels, part):
    features, labels, part = np.asarray(features), np.asarray(labels), np.asarray(part)
    train, test = part == "train", part == "test"
    means = [features[train & (labels == label)].mean(0) for label in (1, 0)]
    distances = np.stack([((features[test] - mean) ** 2).sum(1) for mean in means])
    return float(((distances.argmin(0) != labels[test]).sum() + 1) / (test.sum() + 2))
