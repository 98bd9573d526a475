"""Takes a label wherever it is mentioned."""


def keyhole(demonstrations, query, labels, written):
    def flat(text):
        return " ".join(text.split())

    lines = [f"Text: {flat(text)} Label: {label}" for text, label in demonstrations] + [f"Text: {flat(query)} Label:"]
    first = (written.strip().splitlines() or [""])[0]
    fits = [label for label in labels if re.search(rf"(?<!\w){re.escape(label)}(?!\w)", first, re.IGNORECASE)]
    return "\n".join(lines), max(fits, key=len, default=None)
