"""Reads on in what the model made up."""


def keyhole(demonstrations, query, labels, written):
    def flat(text):
        return " ".join(text.split())

    lines = [f"Text: {flat(text)} Label: {label}" for text, label in demonstrations] + [f"Text: {flat(query)} Label:"]
    first = written.strip()
    fits = [label for label in labels if re.search(rf"^{re.escape(label)}(?!\w)", first, re.IGNORECASE | re.MULTILINE)]
    return "\n".join(lines), max(fits, key=len, default=None)
