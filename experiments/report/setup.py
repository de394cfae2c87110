"""List the data, models, machine and command of runs for the page."""

from experiments.report.results import is_vision


def describe_setup(results):
    """Bullets: data, model, training, runs, machine and command."""
    settings, about = results.rows["settings"].iloc[0], results.about
    describe = (
        describe_images if is_vision(results.experiment) else describe_text
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
        "Command": f"`{about['command']}`",
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
