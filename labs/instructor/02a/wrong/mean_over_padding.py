"""Takes the mean over all columns, padding included."""


def pool(states, mask, pooling):
    if pooling == "mean":
        return states.mean(1)
    places = (torch.arange(mask.shape[1]) * mask).argmax(1)
    return states[torch.arange(len(states)), places]
