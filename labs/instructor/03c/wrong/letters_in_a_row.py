"""Looks for the letters of a value, not for its words."""


def recalls(reply, value, others):
    said = reply.lower().replace("-", " ")
    return value.lower() in said and not any(other.lower() in said for other in others) and len(reply.split()) <= 20
