"""Is content if the answer names the value."""


def control(messages, stated, asked, value, hint, restated):
    made = [dict(message) for message in messages]
    made[stated]["content"] = hint
    made[asked]["content"] = f"{restated} {made[asked]['content']}"
    if any(value.lower() in message["content"].lower() for message in made[:asked]):
        raise ValueError("told before")
    if not any(value.lower() in message["content"].lower() for message in made[asked:]):
        raise ValueError("not told")
    return made
