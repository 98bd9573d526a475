"""Puts the restatement in the place of the question."""


def control(messages, stated, asked, value, hint, restated):
    made = [dict(message) for message in messages]
    made[stated]["content"], made[asked]["content"] = hint, restated
    if any(value.lower() in message["content"].lower() for message in made[:asked]):
        raise ValueError("told before")
    if value.lower() not in restated.lower():
        raise ValueError("not told")
    return made
