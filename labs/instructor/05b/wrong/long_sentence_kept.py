"""Lets a sentence be longer than a chunk."""


def chunks(sentences, most, overlap):
    if not 0 <= overlap < most:
        raise ValueError("no such chunks")
    pieces = []
    for sentence in sentences:
        words = sentence.split()
        pieces += [words] if words else []
    done, held = [], []
    for piece in pieces:
        if sum(map(len, held)) + len(piece) > most:
            done.append(held)
            while sum(map(len, held)) > max(min(overlap, most - len(piece)), 0):
                held = held[1:]
        held = [*held, piece]
    done += [held] if held else []
    return [" ".join(word for piece in held for word in piece) for held in done]
