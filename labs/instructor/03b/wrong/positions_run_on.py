"""Lets the positions run through the packed row: conversations would read their neighbors."""


def pack_rows(rows, length, pad):
    packed = []
    for row in sorted(rows, key=len, reverse=True):
        home = next((ids for ids in packed if len(ids) + len(row) <= length), None)
        if home is None:
            packed.append(home := [])
        home.extend(row)
    return [(ids + [pad] * (length - len(ids)), list(range(len(ids))) + [0] * (length - len(ids))) for ids in packed]
