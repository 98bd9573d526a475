"""Reads all lines as one."""


def checked(said, passages):
    line = " ".join(said.split())
    named = re.search(r"\[(\d+)\]\s*\.?\s*$", line)
    answer = re.sub(r"[\s.]+$", "", line[: named.start()] if named else line).strip()
    words = r"\s+".join(map(re.escape, answer.split()))
    whole = re.compile(rf"(?<!\w)(?<!\d[.,](?=\d)){words}(?!\w)(?!(?<=\d)[.,]\d)", re.IGNORECASE)
    saying = [number for number, passage in enumerate(passages, 1) if answer and whole.search(passage)]
    if not saying:
        return "not said", None
    return answer, int(named[1]) if named and int(named[1]) in saying else None
