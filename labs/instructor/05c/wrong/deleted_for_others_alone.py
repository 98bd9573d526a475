"""Still shows its owner what was deleted."""


def search(query, vectors, owners, readers, deleted, asker, k):
    if k < 1:
        raise ValueError(f"{k} memories were asked for")
    if asker is None:
        return []
    seen = [i for i, owner in enumerate(owners) if (owner == asker or (asker in readers[i] and not deleted[i]))]
    near = np.asarray(vectors, dtype=float)[seen] @ np.asarray(query, dtype=float)
    return [seen[i] for i in np.argsort(-near, kind="stable")[:k]]
