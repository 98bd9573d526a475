"""Takes the k nearest of all, and drops afterwards what the asker may not see."""


def search(query, vectors, owners, readers, deleted, asker, k):
    if k < 1:
        raise ValueError("no k")
    near = np.where(deleted, -np.inf, np.asarray(vectors, dtype=float) @ np.asarray(query, dtype=float))
    order = np.argsort(-near, kind="stable")[:k]
    return [int(i) for i in order if asker is not None and not deleted[i] and (owners[i] == asker or asker in readers[i])]
