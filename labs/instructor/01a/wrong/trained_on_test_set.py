"""Takes the means over all examples, those of the test included."""


def test_error(features, labels, part):
    features, labels, part = np.asarray(features), np.asarray(labels), np.asarray(part)
    test = part == "test"
    means = [features[labels == label].mean(0) for label in (0, 1)]
    distances = np.stack([((features[test] - mean) ** 2).sum(1) for mean in means])
    return float(((distances.argmin(0) != labels[test]).sum() + 1) / (test.sum() + 2))
