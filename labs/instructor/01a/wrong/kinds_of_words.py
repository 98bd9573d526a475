"""Counts kinds of words in place of running words."""


def new_word_share(source, target):
    known = {word for text in source for word in text.lower().split()}
    kinds = {word for text in target for word in text.lower().split()}
    return len(kinds - known) / max(1, len(kinds))
