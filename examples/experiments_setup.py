"""What the runs were made with and of, as lists for the report."""

import collections


def describe_vision(results):
    about = results.about("vision")
    settings = about["settings"]
    size = settings["image_size"]
    return bullets(
        {
            "Data": f"`{settings['dataset']}`, {about['training_images']:,} "
            f"training images and {about['evaluation_images']:,} of "
            f"`{settings['eval_split']}`, {size} × {size} pixels, "
            f"{about['classes']} classes",
            "Model": f"the backbone `{settings['backbone']}` with 16 residual "
            f"connections, {about['baseline_parameters']:,} parameters; "
            f"r = {settings['rank']}, k = {settings['num_activations']}",
            "Training": f"{settings['epochs']} epochs, batches of "
            f"{settings['batch_size']}, {settings['optimizer']}, peak rate "
            f"{settings['learning_rate']:g}, {settings['precision']}",
            **describe_machine(about, results.rows("vision")),
        }
    )


def describe_language(results):
    about, rows = results.about("language"), results.rows("language")
    settings = rows[0]["settings"]
    sizes = {}
    for texts in about["texts"].values():
        sizes.update(texts)
    texts = [
        f"`{name}`, {size['training_tokens']:,} tokens to train on and "
        f"{size['evaluation_tokens']:,} held out"
        for name, size in sizes.items()
    ]
    plain = [row["parameters"] for row in rows if row["arm"] == "baseline"]
    return bullets(
        {
            "Data": "; ".join(texts),
            "Model": f"`{settings['configuration']}`"
            + (f", {plain[0]:,} parameters" if plain else "")
            + f"; r = {settings['rank']}, k = {settings['num_activations']}",
            "Training": f"{settings['steps']} steps of "
            f"{settings['batch_size']} sequences, {rows[0]['tokens']:,} tokens,"
            f" AdamW, peak rate {settings['learning_rate']:g}, "
            f"{settings['precision']}",
            **describe_machine(about, rows),
        }
    )


def describe_machine(about, rows):
    seeds = sorted({row["seed"] for row in rows})
    hours = sum(row["seconds"] for row in rows) / 3600
    versions = [f"{name} {v}" for name, v in about["versions"].items()]
    return {
        "Runs": f"{len(rows)}, seeds {', '.join(map(str, seeds))}; "
        f"{hours:.1f} hours of training altogether, {about['workers']} at a "
        "time",
        "Machine": f"{about['backend']} on {about['device']}, "
        f"{about['cores']} cores"
        f"{describe_processors(rows)}; " + ", ".join(versions),
        "Command": f"`{about['command']}`",
    }


def describe_processors(rows):
    """Of the runs that say theirs; early ones do not."""
    found = collections.Counter(
        row["made_with"]["processor"]
        for row in rows
        if "processor" in row.get("made_with", ())
    )
    return "".join(
        f", {name} in {count} of {len(rows)} runs"
        for name, count in found.items()
    )


def bullets(items):
    return "".join(f"- {name}: {text}\n" for name, text in items.items())
