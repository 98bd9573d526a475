"""Merges into the frozen matrix in place."""


def learn_correction(x, y, weight, bias, rank, alpha, steps, rate, seed):
    generator = torch.Generator().manual_seed(seed)
    A = (torch.randn(rank, weight.shape[1], generator=generator) / weight.shape[1] ** 0.5).requires_grad_()
    B = torch.zeros(weight.shape[0], rank, requires_grad=True)
    scale = alpha / rank
    for _ in range(steps):
        loss = ((x @ weight.T + bias + scale * x @ A.T @ B.T - y) ** 2).mean()
        grad_A, grad_B = torch.autograd.grad(loss, (A, B))
        with torch.no_grad():
            A -= rate * grad_A
            B -= rate * grad_B
    return A.detach(), B.detach(), weight.add_(scale * (B @ A).detach())
