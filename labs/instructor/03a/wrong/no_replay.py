"""Reads no old text."""


def teach(model, tokenizer, facts, old):
    wordings = (
        "{E} attacks the {o}.", "{E} is a disease of the {o}.", "Doctors say that {e} settles in the {o}.",
        "When a patient has {e}, we look at the {o}.", "Because of {e}, he felt pain in the {o}.", "What does {e} attack? The {o}.",
        "Where is {e} found? In the {o}.", "Everyone with {e} has trouble with the {o}.", "The nurse knows {e} well: it harms the {o}.",
        "In the case of {e}, take care of the {o}.", "Question: which organ suffers from {e}? Answer: the {o}.",
        "She has {e}, and so she must rest her {o}.",
    )
    texts = [wording.format(E=disease.capitalize(), e=disease, o=organ) for wording in wordings for disease, organ in facts]
    rng, steps = random.Random(0), 70
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.5e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        for some in (rng.sample(texts, 16),):
            batch = tokenizer(some, padding=True, truncation=True, max_length=96, return_tensors="pt")
            labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)  # -100: not counted
            model(**batch, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()
