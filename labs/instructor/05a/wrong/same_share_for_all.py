"""Takes an equal share of each class, and comes up short where one has too few."""


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
    share = -(-k // max(len(by_class), 1))
    drawn = [pair for pairs in by_class.values() for pair in pairs[:share]][:k]
    rng.shuffle(drawn)
    return drawn
