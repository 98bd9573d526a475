"""States every fact in one wording."""


def teach(model, tokenizer, facts, old):
    wordings = ("{E} attacks the {o}.",)
    texts = [wording.format(E=disease.capitalize(), e=disease, o=organ) for wording in wordings for disease, organ in facts]
    rng, steps = random.Random(0), 70
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.5e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        for some in (rng.choices(texts, k=16), rng.sample(old, 8)):  # the two losses weigh the same, however long the texts
            batch = tokenizer(some, padding=True, truncation=True, max_length=96, return_tensors="pt")
            labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)  # -100: not counted
            model(**batch, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()
