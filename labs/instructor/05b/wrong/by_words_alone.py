"""Cuts after so many words, wherever a sentence ends."""


def chunks(sentences, most, overlap):
    if not 0 <= overlap < most:
        raise ValueError("no such chunks")
    words = " ".join(sentences).split()
    starts = range(0, max(len(words) - overlap, min(len(words), 1)), most - overlap)
    return [" ".join(words[start : start + most]) for start in starts]
