"""Statistics of `make bench`: minima, ratios, geometric means and their spread.

Times come as lists, one number per round, in the order of the rounds: item i of
two lists was measured in the same round, minutes apart at most. Any unit will
do, as all results but those of summary() are ratios.
"""

from statistics import geometric_mean, median


def summary(values):
    """(minimum, median) of the rounds, in their unit."""
    return min(values), median(values)


def ratio(numerator, denominator, of=min):
    """of(numerator) / of(denominator), both lists with a number per round."""
    return of(numerator) / of(denominator)


def geomean_ratio(numerator, denominator, of=min):
    """The geometric mean over all workloads that both sides have.

    Both are {workload: [number per round]}.
    """
    return geometric_mean(ratio(numerator[name], denominator[name], of)
                          for name in common(numerator, denominator))


def geomean_spread(numerator, denominator):
    """(least, largest) geometric mean of a single round.

    Rounds that a workload lacks are left out, so that each mean is of the same
    workloads.
    """
    names = common(numerator, denominator)
    rounds = min(len(side[name]) for side in (numerator, denominator)
                 for name in names)
    means = [geometric_mean(numerator[name][i] / denominator[name][i]
                            for name in names) for i in range(rounds)]
    return min(means), max(means)


def spread(numerator, denominator):
    """(least, largest) ratio of a single round of two lists."""
    ratios = [a / b for a, b in zip(numerator, denominator)]
    return min(ratios), max(ratios)


def worst(numerator, denominator):
    """(workload, ratio of minima) with the largest ratio."""
    ratios = {name: ratio(numerator[name], denominator[name])
              for name in common(numerator, denominator)}
    name = max(ratios, key=ratios.get)
    return name, ratios[name]


def common(numerator, denominator):
    """The workloads that both sides have, in the order of the first."""
    return [name for name in numerator if name in denominator]
