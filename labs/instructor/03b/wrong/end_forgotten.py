"""Stops before the end of the assistant's turn: such a model never learns to stop."""


def answer_labels(ids, assistant, end):
    labels, speaking = [], False
    for token in ids:
        if token in (assistant, end):
            speaking = token == assistant
            labels.append(-100)
        else:
            labels.append(token if speaking else -100)
    return labels
