"""Packs everything in 4 bit, embeddings and norms too."""


def kept_bytes(shapes, others, rank, method):
    matrices = sum(outputs * inputs for outputs, inputs in shapes)
    corrections = sum(rank * (outputs + inputs) for outputs, inputs in shapes)
    trained = {"full": matrices + others, "frozen": 0}.get(method, corrections)
    if method == "full":
        weights = 4 * trained
    elif method == "QLoRA":
        weights = (matrices + others) // 2 + matrices // 64 + 4 * (matrices // (64 * 256)) + 4 * trained
    else:
        weights = 2 * (matrices + others) + 4 * trained
    return weights, 4 * trained, 8 * trained
