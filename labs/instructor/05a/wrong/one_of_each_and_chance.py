"""Makes sure of one text of each class, and leaves the rest to chance."""


def draw(pool, query, k, seed):
    def same(text):
        return " ".join(text.lower().split())

    rng, left = random.Random(seed), {}
    for text, label in pool:
        if same(text) != same(query):
            left.setdefault(same(text), (text, label))
    if k > len(left):
        raise ValueError("too few")
    rest = rng.sample(list(left.values()), len(left))
    certain = []
    for label in rng.sample(sorted({label for _, label in rest}), len({label for _, label in rest})):
        certain.append(next(pair for pair in rest if pair[1] == label))
    drawn = [*certain, *(pair for pair in rest if pair not in certain)][:k]
    rng.shuffle(drawn)
    return drawn
