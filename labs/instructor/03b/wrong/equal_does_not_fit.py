"""Wants a place to spare in each row, unless the conversation is alone there."""


def pack_rows(rows, length, pad):
    packed = []
    for row in sorted(rows, key=len, reverse=True):
        home = next((pair for pair in packed if len(pair[0]) + len(row) < length), None)
        if home is None:
            packed.append(home := ([], []))
        home[0].extend(row)
        home[1].extend(range(len(row)))
    return [(ids + [pad] * (length - len(ids)), places + [0] * (length - len(places))) for ids, places in packed]
