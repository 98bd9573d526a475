"""Pays for learning every day."""


def pays(old, new, asked, every):
    if asked < 0 or every < 1:
        raise ValueError("no such number of questions or days")
    learning, each = new[0] - old[0], new[1] - old[1]

    def start(fixed, slope, least):
        if slope > 0 or slope == 0 < fixed:
            return None
        return max(least, -(-fixed // -slope)) if slope else least

    return start(learning, each, 0), start(learning, asked * each, 1)
