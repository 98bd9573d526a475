"""The experiments behind the book's claims, by chapter, and the registry that the evidence engine reads.

A chapter adds its modules here and nothing else. They hold functions like this one:

    @measures(
        Claim("A1.ratio", "A detector trained on mail fails on social posts", metric="error rate", unit="ratio", treatment="posts",
              control="mail", effect_kind="log_ratio", op=">=", threshold=3),
        Claim("A1.gap", ..., effect_kind="difference", op=">=", threshold=0.10),
        id="A1", seeds=10,
    )
    def detector_meets_posts(seed: int, data_seed: int, n_train: int = 2_000) -> Measurement:
        ...
        return Measurement({"A1.ratio": {"posts": 0.31, "mail": 0.04}, "A1.gap": {"posts": 0.31, "mail": 0.04}}, rows=[...])

A lab calls the same function live, with one seed and a smaller scale: ``detector_meets_posts(0, 0, n_train=500)``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..errors import unknown

EFFECTS = ("log_ratio", "difference", "value")
OPS = (">=", ">", "<=", "<")
MIN_SEEDS = 5


@dataclass(frozen=True)
class Claim:
    """One threshold or one estimate: what is measured, in which unit, which arms are compared and when it holds.

    With ``op`` and ``threshold`` it is a threshold claim, without them an estimate. ``effect_kind``: "log_ratio" (treatment over
    control; the threshold is given as the ratio), "difference" or "value" (treatment alone). The interval is Student's t over the
    seeds; ``test_to_train`` asks for the corrected resampled t of overlapping splits; ``trials`` names the arm that counts trials and
    asks for Clopper-Pearson on the counts of all seeds together. An estimate with a ``margin`` is judged equal inside it; ``words`` are
    its verdicts above, below and inside. A claim with a ``trend``, its arms in the order in which they should rise, holds only if Page's
    trend test agrees. ``dataset`` names the real data it was measured on, ``beside`` the nano claim it stands next to.
    """

    id: str
    claim: str
    metric: str
    unit: str
    treatment: str
    control: str | None
    effect_kind: str
    op: str | None = None
    threshold: float | None = None
    test_to_train: float | None = None
    trials: str | None = None
    margin: float | None = None
    trend: tuple[str, ...] = ()
    words: tuple[str, str, str] = ("higher", "lower", "equal")
    dataset: str | None = None
    beside: str | None = None
    note: str = ""

    @property
    def kind(self) -> str:
        """"threshold" or "estimate"."""
        return "estimate" if self.op is None else "threshold"

    def __post_init__(self):
        problems = [
            (self.effect_kind not in EFFECTS, f"effect_kind must be one of {', '.join(EFFECTS)}"),
            (self.op is not None and self.op not in OPS, f"op must be one of {' '.join(OPS)}"),
            ((self.op is None) != (self.threshold is None), "op and threshold come together or not at all"),
            (self.effect_kind != "value" and self.control is None, f"a {self.effect_kind} needs a control"),
            (self.effect_kind == "log_ratio" and self.threshold is not None and self.threshold <= 0, "a ratio's threshold is above zero"),
            (self.trials is not None and self.effect_kind != "value", "counts are a value: their share of the trials"),
            (self.trials is not None and self.test_to_train is not None, "choose test_to_train or trials"),
            (bool(self.trend) and (self.op is None or len(self.trend) < 3), "a trend needs a threshold claim and at least three arms"),
            (self.margin is not None and (self.op, self.effect_kind) != (None, "difference"), "a margin is for an estimated difference"),
        ]
        for wrong, mend in problems:
            if wrong:
                raise ValueError(f"claim {self.id} is not well formed; {mend}")


@dataclass(frozen=True)
class Measurement:
    """What one seed gave: for each claim its arms by name, and the rows of the grid or curve, if there is one."""

    arms: dict[str, dict[str, float]]
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Experiment:
    """One measurement, the claims it decides, and the number of seeds that the book reports."""

    id: str
    claims: tuple[Claim, ...]
    run_seed: Callable[..., Measurement]
    seeds: int

    @property
    def dataset(self) -> str | None:
        """The real data it measures on; None for the offline world."""
        return self.claims[0].dataset


_registry: dict[str, Experiment] = {}


def measures(*claims: Claim, id: str, seeds: int = 10) -> Callable[[Callable], Callable]:
    """Register the decorated function as the experiment that decides ``claims``; the function itself is returned unchanged.

    ``seeds`` is the number that is reported: ten where a seed takes under two minutes, else five; fewer only for counts.
    """

    def register(run_seed: Callable[..., Measurement]) -> Callable[..., Measurement]:
        taken = {claim.id for experiment in _registry.values() for claim in experiment.claims} | set(_registry)
        names = [claim.id for claim in claims]
        if not claims or len(set(names)) != len(names) or taken & {id, *names}:
            raise ValueError(f"experiment {id} has no claim or reuses an id; give every claim its own")
        if any(name != id and not name.startswith(f"{id}.") for name in names):
            raise ValueError(f"claims of {id} must be called {id} or {id}.something; rename {', '.join(names)}")
        if seeds < MIN_SEEDS and not all(claim.trials for claim in claims):
            raise ValueError(f"experiment {id} asks for {seeds} seeds; ask for at least {MIN_SEEDS}")
        if len({claim.dataset for claim in claims}) > 1:
            raise ValueError(f"claims of {id} name different datasets; make them experiments of their own")
        _registry[id] = Experiment(id, tuple(claims), run_seed, seeds)
        return run_seed

    return register


def experiments() -> dict[str, Experiment]:
    """Return every registered experiment by id, in the order of ids, after importing all modules of this package."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_registry.items()))


def find(names: Iterable[str]) -> list[Experiment]:
    """Return the experiments of the named ids; a claim's id names its experiment. UserError with near matches if there is none."""
    known = experiments()
    by_claim = {claim.id: experiment for experiment in known.values() for claim in experiment.claims}
    found: dict[str, Experiment] = {}
    for name in names:
        experiment = known.get(name) or by_claim.get(name)
        if experiment is None:
            raise unknown("claim", name, sorted({*known, *by_claim}))
        found[experiment.id] = experiment
    return list(found.values())


def seed_of_data(seed: int, data_seed: int) -> int:
    """Return the seed that one repetition draws its documents with: another for each (seed, data_seed), never one below 1,000."""
    return 1_000 * (data_seed + 1) + seed
