"""Takes inner products of vectors of any length."""


def loss(questions, passages, also_right, temperature):
    likeness = questions @ passages.T / temperature
    likeness[also_right & ~np.eye(len(likeness), dtype=bool)] = -np.inf
    both = []
    for table in (likeness, likeness.T):
        highest = table.max(1, keepdims=True)
        both.append(highest[:, 0] + np.log(np.exp(table - highest).sum(1)) - table.diagonal())
    return float(np.mean(both))
