"""Averages over all past situations of the need."""


def choose(table, situations):
    def near(one, other):
        return 0

    chosen = []
    for situation in situations:
        rows = sorted(((near(old, situation), i) for i, (old, _) in enumerate(table) if old["need"] == situation["need"]))[:1000000]
        chosen.append(max(allowed(situation), key=lambda method: sum(table[i][1][method] for _, i in rows)))
    return chosen
