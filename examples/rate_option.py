"""Learning rates of LAuReL's own, an option of the programs that train."""


def add_rate_option(group):
    """Adds `--laurel-rates`."""
    group.add_argument(
        "--laurel-rates",
        type=float,
        nargs=2,
        metavar=("SCALARS", "LOW_RANK"),
        help="factors of the learning rate for alpha, beta, gamma and norm "
        "scales, and for the low-rank maps A and B, such as 0.01 1 "
        "(default: the rate of all weights)",
    )


def check_rates(options):
    """Raises for a factor that is not above 0."""
    rates = options.laurel_rates
    if rates is not None and not all(0 < x < float("inf") for x in rates):
        raise ValueError(
            f"Received `--laurel-rates {rates[0]} {rates[1]}`, expected two "
            "factors above 0. Change `--laurel-rates`."
        )


def rates_of(recipe):
    """What `keras_laurel.prepare_optimizer` takes as `rates`."""
    if recipe.laurel_rates is None:
        return None
    return dict(zip(("scalars", "low_rank"), recipe.laurel_rates))
