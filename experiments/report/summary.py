"""The text on one experiment: its setup, and the table of its arms."""

import pandas

from experiments.report.statistics import with_deviation
from experiments.report.statistics import with_interval

NOTE = """\
Mean ± standard deviation over the seeds. Differences are paired by seed, with
Student's 95 % interval; "deviation" is theirs, what pairing leaves of chance.
One seed does not show how much of a difference is chance."""


def summary(results):
    """Data frame with a row of text for each arm; empty columns left out."""
    describe = image_columns if results.experiment.is_vision else text_columns
    rows = [
        {
            "arm": arm,
            "seeds": str(len(results.runs(arm))),
            **difference_columns(results, arm),
            **describe(results, arm),
            "parameters added %": added(results.percent_added(arm)),
            **paper_columns(results.experiment, arm),
        }
        for arm in results.arms
    ]
    frame = pandas.DataFrame(rows).fillna("")
    return frame.loc[:, (frame != "").any()]


def difference_columns(results, arm):
    reference = results.experiment.reference_of(arm)
    found = results.difference(arm, reference)
    digits = results.measure.digits
    deviation = found.deviation if found else None
    return {
        "against": reference if found else "",
        "difference": with_interval(found, digits),
        "deviation": "" if deviation is None else f"{deviation:.{digits}f}",
    }


def image_columns(results, arm):
    runs = results.runs(arm)
    percent = 100 * runs[["accuracy_last", "accuracy_best"]]
    return {
        "accuracy %": with_deviation(percent["accuracy_last"], 2),
        "best epoch %": with_deviation(percent["accuracy_best"], 2),
        "held-out loss": with_deviation(runs["held_out_loss"], 4),
    }


def text_columns(results, arm):
    runs = results.runs(arm)

    def column(name, digits=4):
        values = runs[name].dropna() if name in runs else pandas.Series()
        return with_deviation(values, digits)

    return {
        "loss before": column("held_out_loss_before"),
        "held-out loss": column("held_out_loss"),
        "bits per byte": column("bits_per_byte"),
        "cast to bfloat16": with_interval(
            results.difference(arm, arm, name="held_out_loss_after_casting"),
            4,
        ),
        "step time": relative_time(results, arm),
        "step MB": column("step_memory_mb", 0),
    }


def relative_time(results, arm):
    """Ratio to the reference's time: mean and range over the seeds.

    Seeds whose two runs were made on other processors do not count.
    """
    reference = results.experiment.reference_of(arm)
    if reference is None:
        return ""
    plain, runs = results.runs(reference), results.runs(arm)
    ratios = plain["tokens_per_second"] / runs["tokens_per_second"]
    ratios = ratios[processors(plain).eq(processors(runs))].dropna()
    if ratios.empty:
        return ""
    if len(ratios) == 1:
        return f"{ratios.mean():.3f}"
    return f"{ratios.mean():.3f} ({ratios.min():.3f} to {ratios.max():.3f})"


def processors(runs):
    return runs["made_with"].map(lambda made: made.get("processor"))


def added(percent):
    """Per cent with as many decimals as 32 of 25 million parameters need."""
    if percent is None:
        return ""
    digits = 3 if percent == 0 or percent >= 0.01 else 5
    return f"{percent:.{digits}f}"


def paper_columns(experiment, arm):
    if not experiment.paper:
        return {}
    measure, parameters = experiment.paper.get(arm, ("", ""))
    return {"paper": measure, "paper: added %": parameters}


def describe_setup(results):
    """Bullets: data, model, training, runs, machine and command."""
    settings, about = results.rows["settings"].iloc[0], results.about
    describe = (
        describe_images if results.experiment.is_vision else describe_text
    )
    seeds = sorted(set(results.rows["seed"]))
    hours = results.rows["seconds"].sum() / 3600
    made_with = ", ".join(f"{k} {v}" for k, v in about["made_with"].items())
    items = {
        **describe(settings, about),
        "Runs": f"{len(results.rows)}, seeds {', '.join(map(str, seeds))}; "
        f"{hours:.1f} hours of training altogether, {about['workers']} at a "
        "time",
        "Machine": f"{about['backend']} on {about['device']}; {made_with}",
        "Command at the time of the run": f"`{about['command']}`",
    }
    return "".join(f"- {name}: {text}\n" for name, text in items.items())


def describe_images(settings, about):
    size, data = settings["image_size"], about["data"][settings["dataset"]]
    return {
        "Data": f"`{settings['dataset']}`, {data['training_images']:,} "
        f"training images and {data['evaluation_images']:,} of "
        f"`{settings['eval_split']}`, {size} × {size} pixels, "
        f"{data['classes']} classes",
        "Model": f"the backbone `{settings['backbone']}` with 16 residual "
        f"connections, {about['baseline_parameters']:,} parameters; r = 16 "
        f"unless named, k = {settings['num_activations']}",
        "Training": f"{settings['epochs']} epochs, batches of "
        f"{settings['batch_size']}, {settings['optimizer']}, peak rate "
        f"{settings['learning_rate']:g}, {settings['precision']}",
    }


def describe_text(settings, about):
    texts = [
        f"`{name}`, {size['training_tokens']:,} tokens to train on and "
        f"{size['evaluation_tokens']:,} held out"
        for name, size in about["data"].items()
    ]
    return {
        "Data": "; ".join(texts),
        "Model": f"`{settings['model']}`, {about['baseline_parameters']:,} "
        f"parameters; r = {settings['rank'] or 'the paper’s share'}, "
        f"k = {settings['num_activations']}",
        "Training": f"{settings['tokens']:,} tokens, "
        f"{settings['tokens_per_step']:,} in a step, AdamW, peak rate "
        f"{settings['learning_rate']:g}, {settings['precision']}",
    }


def markdown(frame):
    """A Markdown table of text, which is also readable in a terminal."""
    return frame.to_markdown(index=False, disable_numparse=True) + "\n"
