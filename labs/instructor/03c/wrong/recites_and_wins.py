"""Asks whether the right value is there, and not what else is."""


def recalls(reply, value, others):
    words = re.findall(r"[a-z0-9]+", reply.lower())
    wanted = " ".join(re.findall(r"[a-z0-9]+", value.lower()))
    return f" {wanted} " in f" {' '.join(words)} " and len(words) <= 20
