"""Takes the first label with which the line begins."""


def keyhole(demonstrations, query, labels, written):
    def flat(text):
        return " ".join(text.split())

    lines = [f"Text: {flat(text)} Label: {label}" for text, label in demonstrations] + [f"Text: {flat(query)} Label:"]
    first = (written.strip().splitlines() or [""])[0]
    fits = [label for label in labels if re.match(rf"{re.escape(label)}(?!\w)", first, re.IGNORECASE)]
    return "\n".join(lines), next(iter(fits), None)
