"""Returns the model as it came."""


def teach(model, tokenizer, facts, old):
    return model
