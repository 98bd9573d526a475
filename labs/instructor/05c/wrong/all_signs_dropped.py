"""Drops all signs and white space, and then finds values within words."""


def leaks(replies, askers, secrets):
    def bare(text):
        return re.sub(r"[\W_]", "", text.lower())

    found = []
    for reply, asker in zip(replies, askers):
        mine = secrets.get(asker, [])
        others = {value for told in secrets.values() for value in told} - set(mine)
        found.append(any(bare(value) in bare(reply) for value in others))
    return found
