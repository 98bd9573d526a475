"""Counts every end of a turn, the user's too."""


def answer_labels(ids, assistant, end):
    labels, speaking = [], False
    for token in ids:
        labels.append(token if token == end or (speaking and token != assistant) else -100)
        speaking = token == assistant or (speaking and token != end)
    return labels
