"""Leaves out the space before the ending."""


def choose(model, tokenizer, prompt, endings):
    head, scores = tokenizer(prompt)["input_ids"], []
    for ending in endings:
        tail = tokenizer(ending, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            log_p = model(torch.tensor([head + tail])).logits[0].log_softmax(-1)
        scores.append(sum(log_p[len(head) - 1 + i, token].item() for i, token in enumerate(tail)))
    return scores, scores.index(max(scores))
