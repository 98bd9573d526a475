"""Looks at the row that was opened last, and at none before it."""


def pack_rows(rows, length, pad):
    packed = []
    for row in sorted(rows, key=len, reverse=True):
        if not packed or len(packed[-1][0]) + len(row) > length:
            packed.append(([], []))
        packed[-1][0].extend(row)
        packed[-1][1].extend(range(len(row)))
    return [(ids + [pad] * (length - len(ids)), places + [0] * (length - len(places))) for ids, places in packed]
