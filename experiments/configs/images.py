"""Settings that the experiments on images share."""

from experiments.vision.settings import VisionSettings

SEEDS = 6
# The narrow network has ResNet-50's 16 residual connections. At rank 1, RW+LR
# adds about the share of parameters that it has in the paper.
REDUCED = VisionSettings(
    backbone="narrow",
    width=16,
    rank=1,
    image_size=28,
    dataset="fashion_mnist",
    eval_split="test",
    epochs=4,
    batch_size=128,
    # The best of results/vision_tuning.json.
    learning_rate=0.2,
    warmup_epochs=0.25,
    label_smoothing=0.0,
)
# The rate is not tuned: pass the one that vision_tuning_full finds best.
FULL = VisionSettings(
    dataset="imagenet2012",
    eval_split="validation",
    augment=("crop", "flip", "rand_augment"),
    batch_size=4096,
    learning_rate=1.6,
    precision="mixed_bfloat16",
)
