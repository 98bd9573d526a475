"""Trains the layer's own matrix along with the strips."""


def learn_correction(x, y, weight, bias, rank, alpha, steps, rate, seed):
    generator = torch.Generator().manual_seed(seed)
    A = (torch.randn(rank, weight.shape[1], generator=generator) / weight.shape[1] ** 0.5).requires_grad_()
    B = torch.zeros(weight.shape[0], rank, requires_grad=True)
    weight.requires_grad_()
    scale = alpha / rank
    optimizer = torch.optim.SGD([A, B, weight], lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        ((x @ weight.T + bias + scale * x @ A.T @ B.T - y) ** 2).mean().backward()
        optimizer.step()
    return A.detach(), B.detach(), (weight + scale * B @ A).detach()
