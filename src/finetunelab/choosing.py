"""Chapter 6: which method to take. What a method did for a need, what a situation allows, what it costs a day, and the book's guide.

``Outcome`` is one row of a comparison; ``Situation`` is what somebody knows before anything is trained; ``advise`` is the guide, a decision tree
that looks at the situation alone; ``regret`` is what following an advice loses against the best method that the situation allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .errors import UserError, unknown
from .stats import Interval, clopper_pearson

CLASSIFY, BEHAVIOR, STYLE, KNOWLEDGE, VOLATILE = "classify", "new behavior", "preferred style", "new knowledge", "volatile knowledge"
NEEDS = (CLASSIFY, BEHAVIOR, STYLE, KNOWLEDGE, VOLATILE)

AS_IS, PROMPT, RETRIEVAL, BEST_OF_N = "as it is", "in the prompt", "retrieval", "best of n"
WORDS, FROZEN, LORA, FULL, RAW, DPO = "TF-IDF", "frozen + head", "LoRA", "full fine-tuning", "raw text", "DPO"
METHODS = (AS_IS, PROMPT, RETRIEVAL, WORDS, FROZEN, LORA, FULL, RAW, BEST_OF_N, DPO)
NEEDS_WEIGHTS = frozenset({FROZEN, LORA, FULL, RAW, DPO})
"""Methods that read or change the inside of the model: nothing that a text-only interface offers."""

LONGER = 2.0  # times the cost of an answer of the model as it is, which is the most where answers must come fast
LEAKS = 0.004  # share of attempts, which is the most where one user's facts must not reach another: the limit of claim E6


@dataclass(frozen=True)
class Outcome:
    """What a method did for a need.

    ``quality`` is the share of ``n`` held-out questions answered rightly, or the mean true worth of n responses. ``once`` are the FLOPs before the
    first answer (where facts change: of every change), ``a_question`` the FLOPs of an answer, ``peak_bytes`` the most memory that training
    took, ``leaks`` the share of attempts at which one user got another's facts, beyond
    what the model as it is guesses.
    """

    quality: float
    n: int
    once: float = 0.0
    a_question: float = 0.0
    peak_bytes: int = 0
    leaks: float = 0.0

    @property
    def interval(self) -> Interval:
        """The exact 95 % interval of a share of right answers."""
        return clopper_pearson(round(self.quality * self.n), self.n)

    def cost_a_day(self, questions: float, changes: float) -> float:
        """Return FLOPs a day with so many questions, and so many changes a day of what has to be learned (1/30: once a month)."""
        return self.once * changes + self.a_question * questions


@dataclass(frozen=True)
class Situation:
    """What is known beforehand.

    ``examples`` counts what supervision there is: labeled texts, instructions with responses, comparisons, or questions with answers.
    ``weights`` says whether the model's weights can be read and changed (else only text goes in and comes out), ``fast`` whether an answer
    may cost no more than ``LONGER`` times that of the model as it is, ``private`` whether users must not learn each other's facts. ``tried`` is
    the share of your own labeled texts that the model classifies rightly with some of the others in the prompt; it costs minutes to find out.
    """

    need: str
    examples: int
    weights: bool = True
    fast: bool = False
    private: bool = False
    tried: float | None = None

    def __post_init__(self):
        if self.need not in NEEDS:
            raise unknown("need", self.need, NEEDS)
        if self.examples < 0:
            raise UserError(f"{self.examples} examples cannot be", "give a number from 0")


def allows(situation: Situation, method: str, outcomes: Mapping[str, Outcome]) -> bool:
    """Tell whether a method that was measured is possible in a situation. The model as it is always is."""
    if method == AS_IS:
        return True
    outcome = outcomes[method]
    return (
        (situation.weights or method not in NEEDS_WEIGHTS)
        and (not situation.fast or outcome.a_question <= LONGER * outcomes[AS_IS].a_question)
        and (not situation.private or outcome.leaks <= LEAKS)
    )


def allowed(situation: Situation, outcomes: Mapping[str, Outcome]) -> dict[str, Outcome]:
    """Return the outcomes of the methods that a situation allows."""
    return {method: outcome for method, outcome in outcomes.items() if allows(situation, method, outcomes)}


def best(situation: Situation, outcomes: Mapping[str, Outcome]) -> str:
    """Return the allowed method of the highest quality; of equals the one that costs least to learn, then least to ask."""
    found = allowed(situation, outcomes)
    return max(found, key=lambda method: (found[method].quality, -found[method].once, -found[method].a_question))


def regret(situation: Situation, method: str, outcomes: Mapping[str, Outcome]) -> float:
    """Return how much quality taking ``method`` loses against the best that was allowed.

    Where the method is not allowed, or was not measured because it does not apply, the model is used as it is.
    """
    found = allowed(situation, outcomes)
    return found[best(situation, outcomes)].quality - found[method if method in found else AS_IS].quality


# The guide ----------------------------------------------------------------------------------------------------------------------

SURE = 0.85  # of the labeled texts that were tried: a prompt that does so well needs no training
FEW = 32  # labels, up to which a head on frozen features does as well


@dataclass(frozen=True)
class Advice:
    """A method, and why."""

    method: str
    reason: str


def advise(situation: Situation) -> Advice:
    """Return the book's advice: the guide of chapter 6, read from the top."""
    if situation.need in (KNOWLEDGE, VOLATILE):
        return _for_facts(situation)
    if not situation.examples:
        return Advice(AS_IS, "there is nothing to learn from: collect examples first")
    if situation.need == CLASSIFY:
        return _for_classes(situation)
    if situation.need == STYLE:
        if situation.weights:
            return Advice(DPO, "comparisons say what people prefer, and the pairs teach it without a reward model")
        if not situation.fast:
            return Advice(BEST_OF_N, "what people prefer can choose among samples where nothing can be trained")
    elif situation.weights:
        return Advice(LORA, "behavior is learned from demonstrations, and small corrections are enough for it")
    elif not situation.fast:
        return Advice(PROMPT, "demonstrations in the prompt are all that a text-only model can be given")
    return Advice(AS_IS, "nothing that would help is allowed: ask for the weights, or for more time an answer")


def _for_facts(situation: Situation) -> Advice:
    if not situation.fast:
        return Advice(RETRIEVAL, "facts belong in documents: looked up, they can change, and each is read by whom it concerns")
    if situation.weights and situation.examples and not situation.private:
        return Advice(FULL, "where no passage may be read, questions can be learned by heart with their answers")
    return Advice(AS_IS, "without passages and without training nothing new is known: allow longer prompts")


def _for_classes(situation: Situation) -> Advice:
    if situation.tried is not None and situation.tried >= SURE and situation.examples <= FEW and not situation.fast:
        return Advice(PROMPT, "the model has the task already: examples in the prompt are enough, and nothing has to be trained")
    if not situation.weights:
        return Advice(WORDS, "a model that cannot be trained hardly learns from labels, and a small model of words does")
    if situation.examples <= FEW:
        return Advice(FROZEN, "few labels are enough for a head on the features of a frozen model, and for little else")
    return Advice(LORA, "there are labels enough for the model to learn the task, and small corrections are enough for it")


GUIDE: tuple[tuple[str, str, Situation], ...] = (
    ("classes of texts", f"a prompt gets {100 * SURE:.0f}% of your labels right, and there are at most {FEW}", Situation(CLASSIFY, FEW, tried=SURE)),
    ("classes of texts", f"at most {FEW} labels", Situation(CLASSIFY, FEW)),
    ("classes of texts", "more labels", Situation(CLASSIFY, FEW + 1)),
    ("classes of texts", "text only", Situation(CLASSIFY, FEW + 1, weights=False)),
    ("a new behavior", "you have the weights", Situation(BEHAVIOR, 1)),
    ("a new behavior", "text only", Situation(BEHAVIOR, 1, weights=False)),
    ("a new behavior", "text only, and fast", Situation(BEHAVIOR, 1, weights=False, fast=True)),
    ("a preferred style", "you have the weights", Situation(STYLE, 1)),
    ("a preferred style", "text only", Situation(STYLE, 1, weights=False)),
    ("a preferred style", "text only, and fast", Situation(STYLE, 1, weights=False, fast=True)),
    ("facts, new or changing", "a passage may be read", Situation(KNOWLEDGE, 0)),
    ("facts, new or changing", "fast, and nothing private", Situation(KNOWLEDGE, 1, fast=True)),
    ("facts, new or changing", "fast, and private or text only", Situation(KNOWLEDGE, 1, fast=True, private=True)),
)
"""The guide read out: what is wanted, under which condition, and a situation that stands for it."""
