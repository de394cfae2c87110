"""Many trainings that make one experiment: in parallel, and resumable.

An experiment has arms, each of which is trained with every seed. The result of
a run is a file; a run that has one is not trained again, so that an experiment
that was interrupted goes on, and a later one may add arms and seeds.
"""

import concurrent.futures
import dataclasses
import importlib.metadata
import json
import multiprocessing
import os
import platform
import threading
import time
from pathlib import Path

import keras

import keras_laurel
from run_folder import RunFolder
from run_folder import read_json
from run_folder import write_json


@dataclasses.dataclass(frozen=True)
class Arm:
    """One of the things that an experiment compares.

    Args:
        name: What it is called in files and tables.
        options: Dict of what it has beyond the settings of the experiment;
            values that JSON has.
    """

    name: str
    options: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What all runs share.

    Args:
        folder: Where the runs are kept.
        settings: Dict of what the numbers depend on, the same in all runs;
            values that JSON has.
        train: Function `(settings, seed, folder) -> dict` at the top of a
            module. It gets the settings and the arm's options in one dict and
            a folder for what it goes on from, and returns the numbers of the
            run.
    """

    folder: Path
    settings: dict
    train: callable

    def run_folder(self, arm, seed):
        return RunFolder(self.folder / arm.name / f"seed_{seed}")

    def settings_of(self, arm):
        """All that the numbers depend on but the seed."""
        backend = {"backend": keras.backend.backend()}
        settings = {**self.settings, **arm.options, **backend}
        return json.loads(json.dumps(settings))

    def result(self, arm, seed):
        """The result of a finished run, or None.

        Raises:
            ValueError: If a run of that name had other settings, be it
                finished or not.
        """
        folder = self.run_folder(arm, seed)
        folder.check(self.settings_of(arm))
        return read_json(folder["result.json"])

    def run(self, arm, seed):
        """The result of a run, which is trained unless it has been."""
        found = self.result(arm, seed)
        if found:
            return found
        folder = self.run_folder(arm, seed)
        settings = self.settings_of(arm)
        folder.claim(settings)
        began = time.perf_counter()
        try:
            numbers = self.train(settings, seed, folder.path)
        except Exception as error:
            error.add_note(
                f"In the run of {arm.name}, seed {seed}: {folder.path}"
            )
            raise
        result = {
            "arm": arm.name,
            "seed": seed,
            "settings": settings,
            **numbers,
            # Of the last sitting, where the run was interrupted.
            "seconds": time.perf_counter() - began,
            "made_with": {**versions(), "processor": processor()},
        }
        write_json(folder["result.json"], result)
        return result


def run_all(experiment, arms, seeds, workers=1):
    """The results of all arms with all seeds, every arm once before twice.

    Args:
        experiment: An `Experiment`.
        arms: List of `Arm`.
        seeds: List of integers.
        workers: Processes that train at the same time. With several, each has
            a processor core of its own; with one, it has the whole machine.
    """
    check_names(arms)
    runs = [(arm, seed) for seed in seeds for arm in arms]
    found = [experiment.result(*run) for run in runs]
    missing = [run for run, result in zip(runs, found) if result is None]
    progress = Progress(len(runs), len(runs) - len(missing))
    if workers == 1:
        for run in missing:
            progress.show(experiment.run(*run))
    else:
        run_in_processes(experiment, missing, workers, progress)
    return [experiment.result(*run) for run in runs]


def check_names(arms):
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names):
        raise ValueError(
            f"Received the arms {', '.join(names)}; expected each name once, "
            "since results are kept by it. Rename one."
        )


def run_in_processes(experiment, runs, workers, progress):
    context = multiprocessing.get_context("spawn")
    cores = context.Queue()
    for index in range(workers):
        cores.put(index)
    with concurrent.futures.ProcessPoolExecutor(
        workers, context, begin_worker, (cores,)
    ) as pool:
        futures = [pool.submit(experiment.run, *run) for run in runs]
        try:
            for future in concurrent.futures.as_completed(futures):
                progress.show(future.result())
        except Exception:
            # Without this, all others would be trained before the error shows.
            pool.shutdown(cancel_futures=True)
            raise
        except KeyboardInterrupt:
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def begin_worker(cores):
    threading.Thread(target=end_with_parent, daemon=True).start()
    take_core(cores)


def end_with_parent():
    """Or a killed experiment would go on training, unseen."""
    multiprocessing.parent_process().join()
    os._exit(1)


def take_core(cores):
    """Leaves this process one core, where the system can.

    Small models do not gain from a second one what a second run does.
    """
    index = cores.get()
    if hasattr(os, "sched_setaffinity"):
        available = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {available[index % len(available)]})


class Progress:
    """A line for each run that is finished."""

    def __init__(self, total, done):
        self.total, self.done, self.before = total, done, done
        self.began = time.perf_counter()
        if done:
            print(f"{done} of {total} runs were finished before", flush=True)

    def show(self, result):
        self.done += 1
        passed = time.perf_counter() - self.began
        left = passed / (self.done - self.before) * (self.total - self.done)
        print(
            f"{self.done} of {self.total}: {result['arm']}, seed "
            f"{result['seed']}, {result['seconds']:.0f} s; about "
            f"{left / 60:.0f} min left",
            flush=True,
        )


def versions():
    """Of what the numbers were made with."""
    packages = ("keras", "keras-hub", "jax", "tensorflow", "torch")
    found = {name: version_of(name) for name in packages}
    return {
        "python": platform.python_version(),
        "keras_laurel": keras_laurel.__version__,
        **{name: version for name, version in found.items() if version},
    }


def processor():
    """Its model, as far as the system says."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else ()
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def version_of(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
