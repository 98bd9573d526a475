"""Finds a secret within a value of the asker's own."""


def leaks(replies, askers, secrets):
    def pattern(value):
        letters = [letter for letter in value.lower() if letter.isalnum()]
        spelled = r"[\W_]*".join(map(re.escape, letters))
        return re.compile(rf"(?<!\w)(?<!\d[.,](?=\d)){spelled}(?!\w)(?!(?<=\d)[.,]\d)")

    patterns = {value: pattern(value) for told in secrets.values() for value in told}

    def spans(values, reply):
        return [match.span() for value in values for match in patterns[value].finditer(reply.lower())]

    found = []
    for reply, asker in zip(replies, askers, strict=True):
        mine = secrets.get(asker, [])
        others = spans([value for value in patterns if value not in mine], reply)
        found.append(bool(others))
    return found
