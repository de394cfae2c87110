"""Models whose residual additions were counted by reading their source.

A row says what `residual_sites` has to find: so many identity, projection and
resampled sites, and so many additions that are none. The comment above a row is
the count. Models are as narrow and as small as their builders allow; depths
are the published ones.
"""

import collections
from typing import NamedTuple

import keras

SIZE = 64


class Row(NamedTuple):
    build: callable
    identity: int = 0
    projection: int = 0
    resampled: int = 0
    rejected: int = 0
    names: str = ""  # how the sites' names begin, where some were rejected
    slow: bool = False

    @property
    def kinds(self):
        return collections.Counter(
            identity=self.identity,
            projection=self.projection,
            resampled=self.resampled,
        )

    @property
    def sites(self):
        return self.kinds.total()


def app(name, size=SIZE, **kwargs):
    def build():
        return getattr(keras.applications, name)(
            **{
                "weights": None,
                "include_top": False,
                "input_shape": (size, size, 3),
                **kwargs,
            }
        )

    return build


def cv_resnet(
    blocks=(2, 2, 2, 2),
    filters=(16, 32, 64, 64),
    cls="ResNetBackbone",
    input_shape=(SIZE, SIZE, 3),
    **kwargs,
):
    import keras_cv

    return getattr(keras_cv.models, cls)(
        stackwise_filters=list(filters),
        stackwise_blocks=list(blocks),
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=False,
        input_shape=input_shape,
        **kwargs,
    )


def cv_deep_resnet(*blocks, **kwargs):
    return lambda: cv_resnet(blocks, (64, 128, 256, 512), **kwargs)


def cv_darknet53():
    from keras_cv.src.models.legacy.darknet import DarkNet53

    return DarkNet53(
        include_rescaling=False,
        include_top=False,
        input_shape=(SIZE, SIZE, 3),
    )


def cv_regnet(name):
    def build():
        from unittest import mock

        from keras_cv.src.models.legacy import regnet

        # KerasCV's Y block asks for a fractional number of filters.
        def squeeze(filters, bottleneck_filters, name):
            layer = regnet.keras.layers
            x_layers = [
                layer.GlobalAveragePooling2D(keepdims=True),
                layer.Conv2D(int(bottleneck_filters), 1, activation="relu"),
                layer.Conv2D(filters, 1, activation="sigmoid"),
            ]

            def apply(x):
                gate = x
                for step in x_layers:
                    gate = step(gate)
                return layer.Multiply(name=name)([x, gate])

            return apply

        with mock.patch.object(regnet, "SqueezeAndExcite2D", squeeze):
            return getattr(regnet, name)(
                include_rescaling=False,
                include_top=False,
                input_shape=(SIZE, SIZE, 3),
            )

    return build


def cv_csp_darknet():
    import keras_cv

    return keras_cv.models.CSPDarkNetBackbone(
        stackwise_channels=[32, 64, 64, 128],
        stackwise_depth=[3, 9, 9, 3],
        include_rescaling=False,
        input_shape=(SIZE, SIZE, 3),
    )


def cv_yolo():
    import keras_cv

    return keras_cv.models.YOLOV8Backbone(
        stackwise_channels=[32, 64, 64, 128],
        stackwise_depth=[1, 2, 2, 1],
        include_rescaling=False,
        input_shape=(SIZE, SIZE, 3),
    )


def cv_mobilenet_v3():
    """The configuration of MobileNetV3Small."""
    import keras_cv

    return keras_cv.models.MobileNetV3Backbone(
        stackwise_expansion=[1, 72 / 16, 88 / 24, 4, 6, 6, 3, 3, 6, 6, 6],
        stackwise_filters=[16, 24, 24, 40, 40, 40, 48, 48, 96, 96, 96],
        stackwise_kernel_size=[3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 5],
        stackwise_stride=[2, 2, 1, 2, 1, 1, 1, 1, 2, 1, 1],
        stackwise_se_ratio=[0.25, None, None] + [0.25] * 8,
        stackwise_activation=["relu"] * 3 + ["hard_swish"] * 8,
        include_rescaling=False,
        input_shape=(SIZE, SIZE, 3),
    )


EFFICIENTNET_B0 = dict(
    width_coefficient=1.0,
    depth_coefficient=1.0,
    include_rescaling=False,
    input_shape=(SIZE, SIZE, 3),
    stackwise_kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
    stackwise_num_repeats=[1, 2, 2, 3, 3, 4, 1],
    stackwise_input_filters=[32, 16, 24, 40, 80, 112, 192],
    stackwise_output_filters=[16, 24, 40, 80, 112, 192, 320],
    stackwise_expansion_ratios=[1, 6, 6, 6, 6, 6, 6],
    stackwise_strides=[1, 2, 2, 2, 1, 2, 1],
)


def cv_efficientnet_v1():
    import keras_cv

    return keras_cv.models.EfficientNetV1Backbone(
        **EFFICIENTNET_B0,
        stackwise_squeeze_and_excite_ratios=[0.25] * 7,
    )


def cv_efficientnet_v2():
    import keras_cv

    return keras_cv.models.EfficientNetV2Backbone(
        width_coefficient=1.0,
        depth_coefficient=1.0,
        include_rescaling=False,
        input_shape=(SIZE, SIZE, 3),
        stackwise_kernel_sizes=[3, 3, 3, 3, 3, 3],
        stackwise_num_repeats=[1, 2, 2, 3, 5, 8],
        stackwise_input_filters=[32, 16, 32, 48, 96, 112],
        stackwise_output_filters=[16, 32, 48, 96, 112, 192],
        stackwise_expansion_ratios=[1, 4, 4, 4, 6, 6],
        stackwise_squeeze_and_excite_ratios=[0, 0, 0, 0.25, 0.25, 0.25],
        stackwise_strides=[1, 2, 2, 2, 1, 2],
        stackwise_conv_types=["fused"] * 3 + ["unfused"] * 3,
    )


def cv_basnet():
    import keras_cv

    return keras_cv.models.segmentation.BASNet(
        backbone=cv_resnet(
            (3, 4, 6, 3),
            (64, 128, 256, 512),
            input_shape=(None, None, 3),
            block_type="basic_block",
        ),
        num_classes=1,
        input_shape=(SIZE, SIZE, 3),
        projection_filters=64,
    )


def cv_deeplab():
    import keras_cv

    return keras_cv.models.DeepLabV3Plus(backbone=cv_resnet(), num_classes=2)


def cv_classifier():
    import keras_cv

    return keras_cv.models.ImageClassifier(backbone=cv_resnet(), num_classes=4)


def cv_retinanet(backbone=None):
    import keras_cv

    return keras_cv.models.RetinaNet(
        backbone=backbone or cv_resnet(),
        num_classes=4,
        bounding_box_format="xywh",
    )


def hub_resnet(
    blocks=(2, 2, 2, 2),
    filters=(64, 64, 64, 64),
    block_type="bottleneck_block",
    image_shape=(SIZE, SIZE, 3),
    **kwargs,
):
    import keras_hub

    vd = block_type.endswith("vd")
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[16, 16, 32] if vd else [filters[0]],
        input_conv_kernel_sizes=[3, 3, 3] if vd else [7],
        stackwise_num_filters=list(filters),
        stackwise_num_blocks=list(blocks),
        stackwise_num_strides=[1, 2, 2, 2],
        block_type=block_type,
        image_shape=image_shape,
        **kwargs,
    )


def hub_deep_resnet(*blocks, **kwargs):
    return lambda: hub_resnet(blocks, (64, 128, 256, 512), **kwargs)


def hub_xception():
    import keras_hub

    return keras_hub.models.XceptionBackbone(
        stackwise_conv_filters=[
            [16, 24],
            [32, 32],
            [48, 48],
            *[[48, 48, 48]] * 3,
            [48, 64],
            [64, 64],
        ],
        stackwise_pooling=[False, True, True, *[False] * 3, True, False],
        image_shape=(96, 96, 3),
    )


def hub_cspnet(stage_type="csp", block_type="dark_block"):
    def build():
        import keras_hub

        return keras_hub.models.CSPNetBackbone(
            stem_filters=16,
            stem_kernel_size=3,
            stem_strides=1,
            stackwise_depth=[1, 2, 8, 8, 4],
            stackwise_strides=[2, 2, 2, 2, 2],
            stackwise_num_filters=[32, 32, 32, 64, 64],
            block_type=block_type,
            stage_type=stage_type,
            bottle_ratio=[0.5],
            block_ratio=[1.0 if stage_type == "dark" else 0.5],
            image_shape=(SIZE, SIZE, 3),
        )

    return build


def hub_efficientnet():
    import keras_hub

    return keras_hub.models.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0] * 7,
        stackwise_depth_coefficients=[1.0] * 7,
        stackwise_kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
        stackwise_num_repeats=[1, 2, 2, 3, 3, 4, 1],
        stackwise_input_filters=[32, 16, 24, 40, 80, 112, 192],
        stackwise_output_filters=[16, 24, 40, 80, 112, 192, 320],
        stackwise_expansion_ratios=[1, 6, 6, 6, 6, 6, 6],
        stackwise_squeeze_and_excite_ratios=[0.25] * 7,
        stackwise_strides=[1, 2, 2, 2, 1, 2, 1],
        stackwise_block_types=["v1"] * 7,
        stackwise_force_input_filters=[0] * 7,
        stackwise_nores_option=[False] * 7,
        image_shape=(SIZE, SIZE, 3),
    )


def hub_basnet():
    import keras_hub

    return keras_hub.models.BASNetBackbone(
        image_encoder=hub_resnet(
            (2, 2, 2, 2),
            (64, 128, 256, 512),
            block_type="basic_block",
            image_shape=(None, None, 3),
        ),
        num_classes=1,
        image_shape=(SIZE, SIZE, 3),
        projection_filters=64,
    )


def hub_deeplab():
    import keras_hub

    return keras_hub.models.DeepLabV3Backbone(
        image_encoder=hub_resnet(),
        low_level_feature_key="P2",
        spatial_pyramid_pooling_key="P5",
        dilation_rates=[6, 12],
        upsampling_size=8,
        image_shape=(SIZE, SIZE, 3),
    )


def hub_classifier(**kwargs):
    import keras_hub

    return keras_hub.models.ImageClassifier(
        backbone=hub_resnet(**kwargs), num_classes=4
    )


def hub_retinanet_backbone(image_encoder=None):
    import keras_hub

    return keras_hub.models.RetinaNetBackbone(
        image_encoder=image_encoder or hub_resnet(),
        min_level=3,
        max_level=5,
        use_p5=True,
        image_shape=(SIZE, SIZE, 3),
    )


def hub_retinanet(image_encoder=None):
    import keras_hub

    return keras_hub.models.RetinaNetObjectDetector(
        backbone=hub_retinanet_backbone(image_encoder),
        num_classes=4,
        bounding_box_format="xywh",
    )


def hub_gpt2_graph():
    import keras_hub

    return graph_of(
        keras_hub.models.GPT2Backbone(
            vocabulary_size=16,
            num_layers=1,
            num_heads=2,
            hidden_dim=16,
            intermediate_dim=16,
            max_sequence_length=64,
        )
    )


def hub_bert_graph():
    import keras_hub

    return graph_of(
        keras_hub.models.BertBackbone(
            vocabulary_size=16,
            num_segments=8,
            num_layers=1,
            num_heads=2,
            hidden_dim=16,
            intermediate_dim=16,
            max_sequence_length=64,
        )
    )


def graph_of(backbone):
    """Return the graph around the blocks, which their class converts."""
    return keras.Model(backbone.inputs, backbone.outputs)


ROWS = {
    # 3 + 4 + 6 + 3 blocks, the first of each stage a projection.
    "ResNet50": Row(app("ResNet50"), 12, 4),
    # 3 + 4 + 23 + 3.
    "ResNet101": Row(app("ResNet101"), 29, 4, slow=True),
    # 3 + 8 + 36 + 3.
    "ResNet152": Row(app("ResNet152"), 46, 4, slow=True),
    # 3 + 4 + 6 + 3: the first of each stage a projection, the last of the
    # first three, which halves the image, a max-pooling.
    "ResNet50V2": Row(app("ResNet50V2"), 9, 4, 3),
    # 1, 2, 3, 4, 3, 3, 1 blocks by width; all but the first of each.
    "MobileNetV2": Row(app("MobileNetV2"), 10),
    # Stride 1 at equal width: 1 of 24, 2 of 40, 1 of 48, 2 of 96 channels.
    # Each of the 9 squeeze-and-excites adds 3 in its hard sigmoid.
    "MobileNetV3Small": Row(app("MobileNetV3Small"), 6, rejected=9),
    # 1 of 16, 1 of 24, 2 of 40, 3 of 80, 1 of 112, 2 of 160 channels;
    # squeeze-and-excite in the 3 + 2 + 3 blocks of 40, 112, 160.
    "MobileNetV3Large": Row(app("MobileNetV3Large"), 10, rejected=8),
    # Repeats 1, 2, 2, 3, 3, 4, 1; all but the first of each.
    "EfficientNetB0": Row(app("EfficientNetB0"), 9),
    # Repeats 1, 2, 2, 3, 5, 8; all but the first of each.
    "EfficientNetV2B0": Row(app("EfficientNetV2B0"), 15),
    # Repeats 2, 4, 4, 6, 9, 15; all but the first of each, and the very
    # first, from 24 to 24 channels at stride 1.
    "EfficientNetV2S": Row(app("EfficientNetV2S"), 35, slow=True),
    # 3 + 3 + 9 + 3 `+` operations, a LayerScale before each.
    "ConvNeXtTiny": Row(app("ConvNeXtTiny"), 18),
    # Projections around blocks 2, 3, 4 and 13, identity around 5 to 12.
    "Xception": Row(app("Xception", size=96), 8, 4),
    # 80 additions: 5 in each of 12 normal and 4 reduction cells. Block 5 of
    # a normal cell is h + sep(h). The other 68 join branches: block 1 and 2
    # sep(h) or sep(p) with sep(p), block 3 pool(h) + p, block 4
    # pool(p) + pool(p), where p and h stem from two cells; in reduction
    # cells every operand is a sep or a pool of another tensor.
    "NASNetMobile": Row(
        app("NASNetMobile", size=224, include_top=True),
        12,
        rejected=68,
        names="normal_add_5_",
    ),
    # Concatenations.
    "DenseNet121": Row(app("DenseNet121")),
    "InceptionV3": Row(app("InceptionV3", size=96)),
    "VGG16": Row(app("VGG16", size=32)),
    # 40 CustomScaleLayer, which add what they are given.
    "InceptionResNetV2": Row(app("InceptionResNetV2", size=96), 40, slow=True),
    # As keras.applications' ResNets, of which it has the depths.
    "cv/ResNet50": Row(cv_deep_resnet(3, 4, 6, 3), 12, 4),
    "cv/ResNet101": Row(cv_deep_resnet(3, 4, 23, 3), 29, 4, slow=True),
    "cv/ResNet152": Row(cv_deep_resnet(3, 8, 36, 3), 46, 4, slow=True),
    # 2 + 2 + 2 + 2; the first stage has no projection, its width fits.
    "cv/ResNet18": Row(
        cv_deep_resnet(2, 2, 2, 2, block_type="basic_block"), 5, 3
    ),
    # As ResNet50V2, but the pooling is in the last three stages.
    "cv/ResNet50V2": Row(
        cv_deep_resnet(3, 4, 6, 3, cls="ResNetV2Backbone"), 9, 4, 3
    ),
    # 2 + 2 + 2 + 2: first stage identity, in the others one projection and
    # one pooling.
    "cv/ResNet18V2": Row(
        cv_deep_resnet(
            2, 2, 2, 2, cls="ResNetV2Backbone", block_type="basic_block"
        ),
        2,
        3,
        3,
    ),
    # 1 + 2 + 8 + 8 + 4.
    "cv/DarkNet53": Row(cv_darknet53, 23),
    # Inside CrossStagePartial layers.
    "cv/CSPDarkNet53": Row(cv_csp_darknet, 21),
    # 1 + 2 + 2 + 1 `+` operations on one output of a split.
    "cv/YOLOV8": Row(cv_yolo, 6),
    # 1 + 1 + 4 + 7 `+` operations, the first of each stage a projection.
    "cv/RegNetX002": Row(cv_regnet("RegNetX002"), 9, 4),
    # The same depths, with squeeze-and-excite.
    "cv/RegNetY002": Row(cv_regnet("RegNetY002"), 9, 4),
    # As MobileNetV3Small. x + 3 in each hard swish: stem, two in each of the
    # last 8 blocks, top; and in each of 9 squeeze-and-excite layers.
    "cv/MobileNetV3": Row(cv_mobilenet_v3, 6, rejected=27),
    # As EfficientNetB0.
    "cv/EfficientNetV1B0": Row(cv_efficientnet_v1, 9, slow=True),
    # Inside MBConvBlock and FusedMBConvBlock layers, of stages of 1, 2, 2, 3,
    # 5 and 8: all but the first of each.
    "cv/EfficientNetV2B0": Row(cv_efficientnet_v2, 15),
    # ResNet34 without stem, 3 + 4 + 6 + 3 of which 3 projections, and
    # 2 stages of 3 identity blocks. The refinement adds a whole U-net to the
    # coarse map.
    "cv/BASNet": Row(cv_basnet, 19, 3, rejected=1, names="v[12]_", slow=True),
    # The backbone's 2 + 2 + 2 + 2, the first of each stage a projection.
    "cv/DeepLabV3Plus": Row(cv_deeplab, 4, 4),
    "cv/ImageClassifier": Row(cv_classifier, 4, 4),
    # Two sums inside the feature pyramid are none.
    "cv/RetinaNet": Row(cv_retinanet, 4, 4, rejected=2),
    # 3 + 4 + 6 + 3 blocks, the first of each stage a projection.
    "hub/ResNet50": Row(hub_deep_resnet(3, 4, 6, 3), 12, 4),
    # The same; the projection reads the norm of the block's input.
    "hub/ResNet50V2": Row(
        lambda: hub_resnet((3, 4, 6, 3), use_pre_activation=True), 12, 4
    ),
    # The same; average-pooling before the projection.
    "hub/ResNet50vd": Row(
        lambda: hub_resnet((3, 4, 6, 3), block_type="bottleneck_block_vd"),
        12,
        4,
    ),
    "hub/ResNet101": Row(lambda: hub_resnet((3, 4, 23, 3)), 29, 4, slow=True),
    "hub/ResNet152": Row(lambda: hub_resnet((3, 8, 36, 3)), 46, 4, slow=True),
    # 2 + 2 + 2 + 2; the first stage has no projection.
    "hub/ResNet18": Row(lambda: hub_resnet(block_type="basic_block"), 5, 3),
    "hub/ResNet18V2": Row(
        lambda: hub_resnet(block_type="basic_block", use_pre_activation=True),
        5,
        3,
    ),
    # Of vd, all four stages have one.
    "hub/ResNet18vd": Row(
        lambda: hub_resnet(block_type="basic_block_vd"), 4, 4
    ),
    # Blocks 2 to 7 of 8, a projection where the width changes.
    "hub/Xception": Row(hub_xception, 3, 3),
    # 1 + 2 + 8 + 8 + 4.
    "hub/CSPDarkNet53": Row(hub_cspnet("csp", "dark_block"), 23),
    "hub/DarkNet53": Row(hub_cspnet("dark", "dark_block"), 23),
    "hub/CSPResNet": Row(hub_cspnet("cs3", "bottleneck_block"), 23, slow=True),
    "hub/CSPEdge": Row(hub_cspnet("cs3", "edge_block"), 23, slow=True),
    # As EfficientNetB0.
    "hub/EfficientNetB0": Row(hub_efficientnet, 9, slow=True),
    # ResNet18 without stem and 2 stages of 3, as of KerasCV.
    "hub/BASNet": Row(
        hub_basnet, 11, 3, rejected=1, names="stack|v1_", slow=True
    ),
    "hub/DeepLabV3": Row(hub_deeplab, 4, 4),
    "hub/ImageClassifier": Row(hub_classifier, 4, 4),
    # Two sums inside the feature pyramid are none.
    "hub/RetinaNet": Row(hub_retinanet, 4, 4, rejected=2),
    # Token and position embedding left out; 2 inside the block.
    "hub/GPT2 graph": Row(hub_gpt2_graph, 2, rejected=1),
    # Token, position and segment embedding in one sum of three left out; 2
    # inside the block.
    "hub/BERT graph": Row(hub_bert_graph, 2, rejected=1),
}

# What is run on every backend; the whole table on one.
REPRESENTATIVE = (
    "ConvNeXtTiny",
    "cv/ResNet18V2",
    "cv/YOLOV8",
    "cv/RegNetX002",
    "cv/CSPDarkNet53",
    "hub/ResNet18vd",
    "hub/Xception",
    "hub/GPT2 graph",
)
