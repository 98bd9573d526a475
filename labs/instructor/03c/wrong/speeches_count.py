"""Does not count the words."""


def recalls(reply, value, others):
    said, found = f" {' '.join(re.findall(r'[a-z0-9]+', reply.lower()))} ", []
    for name in sorted([value, *others], key=len, reverse=True):
        plain = f" {' '.join(re.findall(r'[a-z0-9]+', name.lower()))} "
        if plain in said:
            found.append(name)
            said = said.replace(plain, " | ")
    return found == [value]
