"""Goes through full batches only: the texts that are left over get no vector."""


def embed(model, tokenizer, texts, batch_size):
    rows = [np.zeros((0, model.config.hidden_size), dtype=np.float32)]
    for start in range(0, len(texts) - batch_size + 1, batch_size):
        batch = tokenizer(list(texts[start : start + batch_size]), padding=True, return_tensors="pt")
        ids, mask = batch["input_ids"], batch["attention_mask"]
        with torch.inference_mode():
            last = model.get_decoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask[..., None].float()
        rows.append(((last * weights).sum(1) / weights.sum(1)).numpy())
    return np.concatenate(rows)
