"""Finds a short name in a longer one."""


def recalls(reply, value, others):
    words = re.findall(r"[a-z0-9]+", reply.lower())
    said = f" {' '.join(words)} "

    def named(name):
        return f" {' '.join(re.findall(r'[a-z0-9]+', name.lower()))} " in said

    return named(value) and not any(map(named, others)) and len(words) <= 20
