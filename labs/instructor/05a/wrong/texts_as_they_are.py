"""Lets a text end its own line."""


def keyhole(demonstrations, query, labels, written):
    lines = [f"Text: {text.strip()} Label: {label}" for text, label in demonstrations] + [f"Text: {query.strip()} Label:"]
    first = (written.strip().splitlines() or [""])[0]
    fits = [label for label in labels if re.match(rf"{re.escape(label)}(?!\w)", first, re.IGNORECASE)]
    return "\n".join(lines), max(fits, key=len, default=None)
