"""A short run on real images that needs no download."""

from experiments.configs.table_1 import PAPER
from experiments.experiment import Experiment
from experiments.vision.settings import VisionSettings

SETTINGS = VisionSettings(
    dataset="mnist_5k",
    train_split="train[:2400]",
    image_size=32,
    epochs=3,
    warmup_epochs=0.5,
    batch_size=32,
    optimizer="adamw",
    learning_rate=5e-4,
    weight_decay=0.05,
    keep_model=True,
)
DEMO = Experiment(
    name="demo",
    title="ResNet-50 with and without LAuReL on 2,400 images of MNIST.",
    settings=SETTINGS,
    arms={"baseline": {}, "rw+lr": {"variant": "rw+lr"}},
    paper=PAPER,
)
EXPERIMENTS = (DEMO,)
