"""Draw what D6 measured, from the table beside the evidence: python figs/overoptimization.py"""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean

import matplotlib.pyplot as plt
import numpy as np
from results import EVIDENCE, HERE, LETTERS, MARKERS

from finetunelab.dpo import fit_best_of, fit_rl
from finetunelab.evidence.store import load_rows
from finetunelab.experiments.overoptimization import BEST_OF_N, FREE, TRUTH, TUNED
from finetunelab.plots import COLORS, save, style

ARMS = (FREE, TUNED, TRUTH, BEST_OF_N)
NAMES = {"score": "score it is trained for", "worth": "true worth"}
ALT = (
    "Two panels over the distance from the SFT model, the square root of the KL, up to 14. Above, the score that each policy is trained for: all rise. "
    "Below, what the responses are truly worth. Without a penalty it rises a little, turns at a distance of about 3, and falls far below the start. "
    "With the tuned penalty the policy stays within a distance of 5, with a worth of about 0.9. With the true grades as reward it goes twice as "
    "far, and the worth stays high. Best of n reaches as high a worth within a distance of 2."
)


def points(column: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return of each arm the distances and the values, at each a mean over seeds and halves."""
    found: dict[str, dict[int, list[tuple[float, float]]]] = {arm: defaultdict(list) for arm in ARMS}
    for row in load_rows(EVIDENCE / "D6.csv"):
        found[row["arm"]][int(row["step"] or row["n"])].append((float(row["KL"]), float(row[column])))
    curves = {}
    for arm, places in found.items():
        kl, values = (np.array([fmean(pair[i] for pair in places[place]) for place in sorted(places)]) for i in range(2))
        curves[arm] = np.sqrt(kl.clip(min=0)), values  # an estimate of no KL may fall below zero
    return curves


def overoptimization() -> plt.Figure:
    style()
    plt.rcParams.update(LETTERS)
    fig, panels = plt.subplots(2, 1, figsize=(5.6, 7.6), sharex=True)
    for ax, (column, name) in zip(panels, NAMES.items(), strict=True):
        for place, (arm, (d, values)) in enumerate(points(column).items()):
            ax.plot(d, values, MARKERS[place], color=COLORS[place], label=arm)
            if column == "worth":  # the curves of Gao et al. 2023 are about the truth
                fitted = (fit_best_of if arm == BEST_OF_N else fit_rl)(d, values - values[0])
                d = np.linspace(0, d.max(), 200)
                values = values[0] + fitted(d)
            ax.plot(d, values, color=COLORS[place], linewidth=1.8)
        ax.set_title(name)
    panels[0].set_ylabel("standard deviations")
    panels[1].set(ylabel="share of 1", xlabel=r"distance: $\sqrt{\mathrm{KL}}$, KL in nats a response")
    fig.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=13)
    return fig


if __name__ == "__main__":
    print(save(overoptimization(), HERE / "overoptimization.svg", ALT))
