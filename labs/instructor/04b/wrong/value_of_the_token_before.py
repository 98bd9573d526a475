"""Is off by one: takes the value before a token for the one behind it."""


def gae(rewards, values, mask, gamma, lam):
    rewards, values = torch.where(mask, rewards, 0.0), torch.where(mask, values, 0.0)
    before = torch.cat([torch.zeros_like(values[:, :1]), values[:, :-1]], 1)
    deltas, found = torch.where(mask, rewards + gamma * values - before, 0.0), torch.zeros_like(values)
    for t in reversed(range(mask.shape[1])):
        found[:, t] = deltas[:, t] + (gamma * lam * found[:, t + 1] if t + 1 < mask.shape[1] else 0)
    return torch.where(mask, found, 0.0), torch.where(mask, found + values, 0.0)
