"""Sorts the texts by length, to spend little on padding, and does not put the rows back."""


def embed(model, tokenizer, texts, batch_size):
    found = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
    texts = sorted(texts, key=len)
    for start in range(0, len(texts), batch_size):
        batch = tokenizer(list(texts[start : start + batch_size]), padding=True, return_tensors="pt")
        ids, mask = batch["input_ids"], batch["attention_mask"]
        with torch.inference_mode():
            last = model.get_decoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask[..., None].float()
        found[start : start + len(ids)] = ((last * weights).sum(1) / weights.sum(1)).numpy()
    return found
