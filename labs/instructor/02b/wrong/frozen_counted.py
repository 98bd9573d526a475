"""Counts frozen parameters as trained."""


def freeze_but_last(model, blocks):
    model.requires_grad_(False)
    if blocks:
        for part in (*model.model.layers[-blocks:], model.model.norm):
            part.requires_grad_(True)
    return sum(p.numel() for p in model.parameters()), sum(p.numel() for p in model.parameters())
