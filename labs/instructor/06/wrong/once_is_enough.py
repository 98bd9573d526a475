"""Names the first number at which it pays, though it does not for larger ones."""


def pays(old, new, asked, every):
    if asked < 0 or every < 1:
        raise ValueError("no such number of questions or days")
    learning, each = new[0] - old[0], new[1] - old[1]

    def start(fixed, slope, least):
        if fixed + least * slope <= 0:
            return least
        return max(least, -(-fixed // -slope)) if slope < 0 else None

    return start(learning, every * each, 0), start(learning, asked * each, 1)
