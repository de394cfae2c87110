"""Backbones of KerasHub that are no rows of `hub/families.py`.

Each class that KerasHub exports stands there or here: a test fails when a new
one has no row. `sites` is counted by hand
from the configuration.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tests.conversion.hub.rows import hub

IMAGE = dict(image_shape=(32, 32, 3))
TO_COME = "its additions stand in layers of its own"


@dataclass(frozen=True)
class OtherClass:
    """A class of backbones.

    Args:
        outcome: "graph", where its additions stand in a functional graph;
            "inside", where they stand in the `call` of its layers; "none",
            where it has no residual addition.
        build: A builder of a small one, or `None` where it takes more than a
            few lines.
        sites: The number of residual additions in its graph.
        note: What to know besides.
    """

    outcome: str
    build: Callable | None = None
    sites: int | None = None
    note: str = ""


resnet = hub(
    "ResNetBackbone",
    input_conv_filters=[64],
    input_conv_kernel_sizes=[7],
    stackwise_num_filters=[64, 64],
    stackwise_num_blocks=[2, 2],
    stackwise_num_strides=[1, 2],
    block_type="basic_block",
    **IMAGE,
)
mit = hub(
    "MiTBackbone",
    layerwise_depths=[1, 1],
    num_layers=2,
    layerwise_num_heads=[1, 2],
    layerwise_sr_ratios=[2, 1],
    max_drop_path_rate=0.1,
    layerwise_patch_sizes=[7, 3],
    layerwise_strides=[4, 2],
    hidden_dims=[8, 16],
    **IMAGE,
)

OTHERS = {
    "ResNetBackbone": OtherClass("graph", resnet, 4),
    "DeepLabV3Backbone": OtherClass("graph", note="those of its image encoder"),
    "RetinaNetBackbone": OtherClass(
        "graph",
        note="those of its image encoder; the sums of its feature pyramid go "
        "across resolutions",
    ),
    "BASNetBackbone": OtherClass("graph", note="and in its image encoder"),
    "XceptionBackbone": OtherClass("graph"),
    "CSPNetBackbone": OtherClass(
        "graph",
        hub(
            "CSPNetBackbone",
            stem_filters=8,
            stem_kernel_size=3,
            stem_strides=1,
            stackwise_depth=[1, 2],
            stackwise_strides=[2, 2],
            stackwise_num_filters=[8, 16],
            block_type="dark_block",
            stage_type="dark",
            **IMAGE,
        ),
        3,
    ),
    "EfficientNetBackbone": OtherClass(
        "graph", note="of the first version; V2 has them in layers"
    ),
    "DenseNetBackbone": OtherClass(
        "none",
        hub("DenseNetBackbone", stackwise_num_repeats=[2, 2], **IMAGE),
        0,
        "it concatenates",
    ),
    "VGGBackbone": OtherClass(
        "none",
        hub(
            "VGGBackbone",
            stackwise_num_repeats=[1, 1],
            stackwise_num_filters=[8, 8],
            **IMAGE,
        ),
        0,
    ),
    "FeaturePyramidBackbone": OtherClass(
        "none", note="the base class of image encoders: as the class is"
    ),
    "MiTBackbone": OtherClass("inside", mit, note=TO_COME),
    "SegFormerBackbone": OtherClass(
        "inside",
        hub("SegFormerBackbone", image_encoder=mit, projection_filters=8),
        note="those of its image encoder",
    ),
    "SwinTransformerBackbone": OtherClass(
        "inside",
        hub(
            "SwinTransformerBackbone",
            embed_dim=8,
            depths=(2, 2),
            num_heads=(1, 2),
            window_size=4,
            **IMAGE,
        ),
        note=TO_COME,
    ),
    "ViTDetBackbone": OtherClass(
        "inside",
        hub(
            "ViTDetBackbone",
            hidden_size=8,
            num_layers=2,
            intermediate_dim=16,
            num_heads=2,
            global_attention_layer_indices=[1],
            patch_size=4,
            num_output_channels=8,
            window_size=2,
            **IMAGE,
        ),
        note=TO_COME,
    ),
    "FluxBackbone": OtherClass("inside", note=TO_COME),
    "StableDiffusion3Backbone": OtherClass("inside", note=TO_COME),
    "MobileNetBackbone": OtherClass("inside", note=TO_COME),
    "MobileNetV5Backbone": OtherClass("inside", note=TO_COME),
    "HGNetV2Backbone": OtherClass("inside", note=TO_COME),
    "DFineBackbone": OtherClass("inside", note=TO_COME),
    "SAMBackbone": OtherClass("inside", note=TO_COME),
    "SAM3PromptableConceptBackbone": OtherClass("inside", note=TO_COME),
}
