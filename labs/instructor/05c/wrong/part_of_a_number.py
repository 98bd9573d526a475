"""Takes the point in a number for the end of a word."""


def leaks(replies, askers, secrets):
    def pattern(value):
        letters = [letter for letter in value.lower() if letter.isalnum()]
        spelled = r"[\W_]*".join(map(re.escape, letters))
        return re.compile(rf"(?<!\w){spelled}(?!\w)")

    patterns = {value: pattern(value) for told in secrets.values() for value in told}

    def spans(values, reply):
        return [match.span() for value in values for match in patterns[value].finditer(reply.lower())]

    found = []
    for reply, asker in zip(replies, askers, strict=True):
        mine = secrets.get(asker, [])
        own, others = spans(mine, reply), spans([value for value in patterns if value not in mine], reply)
        found.append(any(not any(a <= start and end <= b for a, b in own) for start, end in others))
    return found
