"""Arms × seeds: each run in a folder of its own, resumable, in parallel.

The result of a run is a file. A run that has one is not trained again, so an
experiment that was interrupted continues, and a later one adds arms and seeds.
"""

import concurrent.futures
import contextlib
import dataclasses
import importlib
import json
import math
import multiprocessing
import os
import shutil
import threading
import time

import keras
from tqdm import tqdm

from experiments.devices import is_first_process
from experiments.files import made_with
from experiments.files import read_json
from experiments.files import write_json


@dataclasses.dataclass(frozen=True)
class Run:
    """One arm with one seed."""

    experiment: object
    arm: str
    seed: int
    machine: object

    @property
    def folder(self):
        return self.machine.output / self.arm / f"seed_{self.seed}"

    def settings(self):
        """Return all settings on which the numbers depend, except the seed."""
        settings = self.experiment.settings_of(self.arm)
        return plain(settings) | {"backend": keras.backend.backend()}

    def result(self):
        """The result of a finished run, or None.

        Raises:
            ValueError: If the folder's run has other settings, finished or
                not.
        """
        now = self.settings()
        before = read_json(self.folder / "settings.json") or now
        # A setting that there was not yet had the effect of its default.
        before = {**plain(type(self.experiment.settings)()), **before}
        changed = [
            f"{name}={before.get(name)!r} there, {now.get(name)!r} here"
            for name in sorted({*before, *now})
            if before.get(name) != now.get(name)
        ]
        if changed:
            raise ValueError(
                f"{self.folder} has a run with other settings: "
                f"{'; '.join(changed)}. Give the same command to continue it, "
                "choose another `--output`, or delete the folder."
            )
        return read_json(self.folder / "result.json")

    def train(self):
        """Train the run unless it is finished; its result.

        In a job of several processes only the first gets the numbers, and
        writes them.
        """
        found = self.result()
        if found:
            return found
        trainer = importlib.import_module(self.experiment.trainer)
        settings = self.experiment.settings_of(self.arm)
        began = time.perf_counter()
        if is_first_process():
            write_json(self.folder / "settings.json", self.settings())
        try:
            numbers = trainer.train(
                settings, self.seed, self.folder, self.machine
            )
        except Exception as error:
            error.add_note(f"In the run {self.folder}")
            raise
        if numbers is None:
            return None
        result = {
            "arm": self.arm,
            "seed": self.seed,
            "settings": self.settings(),
            **numbers,
            # Of the last sitting, where the run was interrupted.
            "seconds": time.perf_counter() - began,
            "made_with": made_with(),
        }
        write_json(self.folder / "result.json", result)
        shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)
        return result


def plain(settings):
    """The settings as JSON has them."""
    return json.loads(json.dumps(dataclasses.asdict(settings)))


def all_runs(experiment, machine):
    """Return all runs: every arm with one seed before any with the next."""
    return [
        Run(experiment, arm, seed, machine)
        for seed in range(experiment.seeds)
        for arm in experiment.arms
    ]


def run_all(experiment, machine, deadline=math.inf, after_each=None):
    """The results of all arms with all seeds, as far as there was time.

    Args:
        experiment: An `Experiment`.
        machine: A `Machine`. With several workers each run has a process and
            a core of its own; with one it has the whole machine.
        deadline: No run begins that would end later, by `time.monotonic`.
        after_each: Function of the results so far, called after each run.
    """
    runs = all_runs(experiment, machine)
    missing = [run for run in runs if run.result() is None]
    with tqdm(total=len(runs), initial=len(runs) - len(missing)) as bar:
        bar.set_description(experiment.name)
        if machine.workers == 1:
            results = map(Run.train, in_time(missing, deadline))
        else:
            results = train_in_processes(missing, machine.workers)
        for result in results:
            if result is not None:
                bar.write(
                    f"{result['arm']}, seed {result['seed']}: "
                    f"{result['seconds']:.0f} s"
                )
            bar.update()
            if after_each is not None and is_first_process():
                after_each(finished(runs))
    return finished(runs)


def finished(runs):
    return [result for result in map(Run.result, runs) if result]


def in_time(runs, deadline):
    """The runs, until one as long as the longest so far would end too late."""
    longest = 0
    for run in runs:
        began = time.monotonic()
        if began + longest > deadline:
            return
        yield run
        longest = max(longest, time.monotonic() - began)


def train_in_processes(runs, workers):
    context = multiprocessing.get_context("spawn")
    cores = context.Queue()
    for index in range(workers):
        cores.put(index)
    with concurrent.futures.ProcessPoolExecutor(
        workers, context, begin_worker, (cores,)
    ) as pool:
        futures = [pool.submit(train_with_log, run) for run in runs]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except Exception:
            # Without this, all others would be trained before the error shows.
            pool.shutdown(cancel_futures=True)
            raise
        except KeyboardInterrupt:
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def train_with_log(run):
    """Train a run; what Keras prints goes to `log.txt` in its folder."""
    run.folder.mkdir(parents=True, exist_ok=True)
    with (run.folder / "log.txt").open("a") as log:
        with contextlib.redirect_stdout(log):
            return run.train()


def begin_worker(cores):
    threading.Thread(target=end_with_parent, daemon=True).start()
    take_core(cores)


def end_with_parent():
    """Or a killed experiment would go on training, unseen."""
    multiprocessing.parent_process().join()
    os._exit(1)


def take_core(cores):
    """Leave this process one core, where the system can.

    Small models gain less from a second core than a second run does.
    """
    index = cores.get()
    if hasattr(os, "sched_setaffinity"):
        available = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {available[index % len(available)]})
