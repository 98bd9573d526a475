"""Looks for the asker's name within the owner's."""


def search(query, vectors, owners, readers, deleted, asker, k):
    if k < 1:
        raise ValueError(f"{k} memories were asked for")
    if asker is None:
        return []
    seen = [i for i, owner in enumerate(owners) if not deleted[i] and (asker in (owner or '') or asker in readers[i])]
    near = np.asarray(vectors, dtype=float)[seen] @ np.asarray(query, dtype=float)
    return [seen[i] for i in np.argsort(-near, kind="stable")[:k]]
