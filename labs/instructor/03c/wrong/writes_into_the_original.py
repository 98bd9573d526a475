"""Copies the list, but not the messages in it."""


def control(messages, stated, asked, value, hint, restated):
    made = list(messages)
    made[stated]["content"] = hint
    made[asked]["content"] = f"{restated} {made[asked]['content']}"
    if any(value.lower() in message["content"].lower() for message in made[:asked]):
        raise ValueError("told before")
    if value.lower() not in made[asked]["content"].lower():
        raise ValueError("not told")
    return made
