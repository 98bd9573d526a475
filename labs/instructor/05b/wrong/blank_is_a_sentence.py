"""Keeps a chunk without words."""


def chunks(sentences, most, overlap):
    if not 0 <= overlap < most:
        raise ValueError("no such chunks")
    pieces = []
    for sentence in sentences:
        words = sentence.split()
        pieces += [words[start : start + most] for start in range(0, len(words), most)]
    done, held = [], []
    for piece in pieces:
        if sum(map(len, held)) + len(piece) > most:
            done.append(held)
            while sum(map(len, held)) > min(overlap, most - len(piece)):
                held = held[1:]
        held = [*held, piece]
    done += [held]
    return [" ".join(word for piece in held for word in piece) for held in done]
