"""Lets changes come every zero days."""


def pays(old, new, asked, every):
    if asked < 0 or every < 1:
        raise ValueError("no such number of questions or days")
    learning, each = new[0] - old[0], new[1] - old[1]

    def start(fixed, slope):
        if slope > 0 or slope == 0 < fixed:
            return None
        return max(0, -(-fixed // -slope)) if slope else 0

    return start(learning, every * each), start(learning, asked * each)
