"""Counts one moment of the optimizer in place of two."""


def kept_bytes(shapes, others, rank, method):
    matrices = sum(outputs * inputs for outputs, inputs in shapes)
    corrections = sum(rank * (outputs + inputs) for outputs, inputs in shapes)
    trained = {"full": matrices + others, "frozen": 0}.get(method, corrections)
    if method == "full":
        weights = 4 * trained
    elif method == "QLoRA":
        weights = matrices // 2 + matrices // 64 + 4 * (matrices // (64 * 256)) + 2 * others + 4 * trained
    else:
        weights = 2 * (matrices + others) + 4 * trained
    return weights, 4 * trained, 4 * trained
