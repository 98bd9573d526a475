"""Counts the tokens of the prompt, too."""


def choose(model, tokenizer, prompt, endings):
    scores = []
    for ending in endings:
        ids = tokenizer(prompt)["input_ids"] + tokenizer(" " + ending, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            log_p = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        scores.append(sum(log_p[place, token].item() for place, token in enumerate(ids[1:])))
    return scores, scores.index(max(scores))
