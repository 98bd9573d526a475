"""Leaves the classes one behind the other."""


def draw(pool, query, k, seed):
    def same(text):
        return " ".join(text.lower().split())

    rng, seen, by_class = random.Random(seed), {same(query)}, {}
    for text, label in pool:
        if same(text) not in seen:
            seen.add(same(text))
            by_class.setdefault(label, []).append((text, label))
    if k > sum(map(len, by_class.values())):
        raise ValueError("too few")
    for pairs in by_class.values():
        rng.shuffle(pairs)
    drawn = []
    while len(drawn) < k:
        groups = [pairs for pairs in by_class.values() if pairs]
        rng.shuffle(groups)
        drawn += [pairs.pop() for pairs in groups[: k - len(drawn)]]
    return sorted(drawn, key=lambda pair: pair[1])
