"""Compare the cost of a program with that of its baseline."""

QUANTITIES = ("flops", "bytes_accessed", "peak_memory", "cycles")


def overheads(cost, baseline):
    """Return the overhead of `cost` over `baseline`, in percent.

    Args:
        cost: `ProgramCost`.
        baseline: `ProgramCost` of the plain model.

    Returns:
        A dict of floats by quantity. It is `None` if the compiler gives no
        number: for a program that does not fit, all except its memory.
    """
    return {
        name: _percent(getattr(cost, name), getattr(baseline, name))
        for name in QUANTITIES
    }


def _percent(value, plain):
    return 100 * (value / plain - 1) if value and plain else None


def compare(costs):
    """Return a table of several costs; the first is the baseline's.

    Args:
        costs: Dict of `ProgramCost` by name.
    """
    baseline = next(iter(costs.values()))
    header = ("", "flops", "bytes", "peak memory", "cycles", "roofline")
    rows = [_values(name, cost) for name, cost in costs.items()]
    rows += [
        _added(name, overheads(cost, baseline))
        for name, cost in list(costs.items())[1:]
    ]
    return "\n".join(_line(cells) for cells in [header, *rows])


def _values(name, cost):
    if not cost.fits:
        excess = (cost.peak_memory - cost.memory) / 2**30
        memory = f"{cost.peak_memory / 2**30:,.2f} GiB"
        return name, "-", "-", memory, "-", f"{excess:,.2f} GiB over"
    return (
        name,
        f"{cost.flops / 1e12:,.3f} T",
        f"{cost.bytes_accessed / 1e9:,.2f} GB",
        f"{cost.peak_memory / 2**30:,.2f} GiB",
        f"{cost.cycles / 1e6:,.2f} M",
        f"{1e3 * cost.roofline_time:,.2f} ms {cost.bound}",
    )


def _added(name, added):
    percents = ["-" if x is None else f"{x:+.2f} %" for x in added.values()]
    return f"{name} adds", *percents, ""


def _line(cells):
    first, *numbers, last = cells
    line = f"{first:<15}" + "".join(f"{cell:>12}" for cell in numbers)
    return f"{line}  {last}".rstrip()
