"""Looks for the value in the early message alone."""


def control(messages, stated, asked, value, hint, restated):
    if value.lower() in hint.lower() or value.lower() not in restated.lower():
        raise ValueError("told too early, or not at all")
    made = [dict(message) for message in messages]
    made[stated]["content"] = hint
    made[asked]["content"] = f"{restated} {made[asked]['content']}"
    return made
