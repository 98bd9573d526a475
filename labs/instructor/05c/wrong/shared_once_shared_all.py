"""Lets those who were shown one memory see all of its owner's."""


def search(query, vectors, owners, readers, deleted, asker, k):
    if k < 1:
        raise ValueError(f"{k} memories were asked for")
    if asker is None:
        return []
    shown = {owner for owner, shared in zip(owners, readers) if owner is not None and asker in shared}
    seen = [i for i, owner in enumerate(owners) if not deleted[i] and (owner == asker or asker in readers[i] or owner in shown)]
    near = np.asarray(vectors, dtype=float)[seen] @ np.asarray(query, dtype=float)
    return [seen[i] for i in np.argsort(-near, kind="stable")[:k]]
