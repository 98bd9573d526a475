"""How every lab begins: profile and seed set, libraries quiet, figures in house style."""

from __future__ import annotations

import os
import warnings

from .profiles import VARIABLE, Profile, describe, profile


def begin(name: str | None = None, seed: int = 0) -> Profile:
    """Fix profile and seeds for a notebook, print what it will run on and why, and return the profile.

    ``FINETUNELAB_PROFILE`` goes before ``name``, so that a whole course can be moved to another machine without touching its notebooks.
    UserError if there is no such profile.
    """
    chosen = profile(os.environ.get(VARIABLE) or name)
    os.environ[VARIABLE] = chosen.name
    # tqdm asks for notebook widgets that a lab does not need; a bar of text does.
    warnings.filterwarnings("ignore", message="IProgress not found")
    from transformers import set_seed
    from transformers.utils import logging

    from .plots import style

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    set_seed(seed)
    style()
    print(describe(chosen.name))
    return chosen
