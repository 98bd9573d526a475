"""Takes the longest conversations: there is more to remember in them."""


def choose(conversations, n):
    return sorted(range(len(conversations)), key=lambda place: len(conversations[place]), reverse=True)[:n]
