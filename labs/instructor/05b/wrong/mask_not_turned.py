"""Turns the table of likenesses around, and not the mask."""


def loss(questions, passages, also_right, temperature):
    questions = questions / np.linalg.norm(questions, axis=1, keepdims=True)
    passages = passages / np.linalg.norm(passages, axis=1, keepdims=True)
    likeness = questions @ passages.T / temperature
    both = []
    for table in (likeness, likeness.T.copy()):
        table[also_right & ~np.eye(len(table), dtype=bool)] = -np.inf
        highest = table.max(1, keepdims=True)
        both.append(highest[:, 0] + np.log(np.exp(table - highest).sum(1)) - table.diagonal())
    return float(np.mean(both))
