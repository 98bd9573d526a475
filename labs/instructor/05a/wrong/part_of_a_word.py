"""Finds a label in a longer word."""


def keyhole(demonstrations, query, labels, written):
    def flat(text):
        return " ".join(text.split())

    lines = [f"Text: {flat(text)} Label: {label}" for text, label in demonstrations] + [f"Text: {flat(query)} Label:"]
    first = (written.strip().splitlines() or [""])[0]
    fits = [label for label in labels if first.lower().startswith(label.lower())]
    return "\n".join(lines), max(fits, key=len, default=None)
