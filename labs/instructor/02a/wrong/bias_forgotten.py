"""Forgets the bias: it stays at zero."""


def head_probabilities(known, labels, new, classes, steps, rate):
    center, spread = known.mean(0), known.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    scaled, wanted = (known - center) / spread, np.eye(classes)[np.asarray(labels)]
    weight, bias = np.zeros((classes, known.shape[1])), np.zeros(classes)

    def probabilities(vectors):
        scores = vectors @ weight.T + bias
        weights = np.exp(scores - scores.max(1, keepdims=True))
        return weights / weights.sum(1, keepdims=True)

    for _ in range(steps):
        wrong = (probabilities(scaled) - wanted) / len(scaled)
        weight = weight - rate * wrong.T @ scaled
    return probabilities((new - center) / spread)
