"""Looks for the letters of what others have told."""


def leaks(replies, askers, secrets):
    told = {asker: [value for name in secrets if name != asker for value in secrets[name]] for asker in set(askers)}
    return [any(value in reply for value in told[asker]) for reply, asker in zip(replies, askers)]
