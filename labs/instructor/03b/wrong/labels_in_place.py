"""Writes the labels into the row itself."""


def answer_labels(ids, assistant, end):
    speaking = False
    for place, token in enumerate(ids):
        if not speaking or token == assistant:
            ids[place] = -100
        speaking = token == assistant or (speaking and token != end)
    return ids
