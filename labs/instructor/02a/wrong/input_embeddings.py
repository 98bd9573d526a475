"""Averages the input embeddings: what stands before any attention."""


def embed(model, tokenizer, texts, batch_size):
    found = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
    for start in range(0, len(texts), batch_size):
        batch = tokenizer(list(texts[start : start + batch_size]), padding=True, return_tensors="pt")
        with torch.inference_mode():
            first = model.get_input_embeddings()(batch["input_ids"])
        weights = batch["attention_mask"][..., None].float()
        found[start : start + len(first)] = ((first * weights).sum(1) / weights.sum(1)).numpy()
    return found
