"""Counts the words that answer and early messages share, and takes all words for equal."""


def choose(conversations, n):
    def words(message):
        return set(re.findall(r"[a-z0-9]+", message["content"].lower()))

    def score(messages):
        early = set().union(set(), *(words(message) for message in messages[:-2] if message["role"] == "user"))
        return len((words(messages[-1]) & early) - words(messages[-2]))

    return sorted(range(len(conversations)), key=lambda place: score(conversations[place]), reverse=True)[:n]
