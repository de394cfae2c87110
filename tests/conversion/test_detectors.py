"""Tasks of KerasCV and KerasHub: over a converted backbone, and whole."""

import itertools
import json

import keras
import numpy as np
import pytest

import keras_laurel
from tests.backends import rows
from tests.conversion import zoo
from tests.conversion.models import assert_moved
from tests.conversion.models import assert_same_outputs
from tests.conversion.models import outputs
from tests.conversion.models import random_input
from tests.conversion.models import shake

BLOCKS = (1, 1, 1, 2)
SITES = sum(BLOCKS)


def cv_backbone():
    return zoo.cv_resnet(BLOCKS)


def hub_backbone():
    return zoo.hub_resnet(BLOCKS)


def convert(model):
    return keras_laurel.laurelize(model, keras_laurel.get("rw+pa"))


def cv_classifier(backbone):
    import keras_cv

    return keras_cv.models.ImageClassifier(backbone=backbone, num_classes=4)


def hub_classifier(backbone):
    import keras_hub

    return keras_hub.models.ImageClassifier(backbone=backbone, num_classes=4)


BACKBONES = {
    cv_classifier: cv_backbone,
    hub_classifier: hub_backbone,
    zoo.cv_retinanet: cv_backbone,
    zoo.hub_retinanet: hub_backbone,
}
TASKS = pytest.mark.parametrize("task", BACKBONES, ids=lambda f: f.__name__)


def over_a_converted_backbone(task):
    return task(convert(BACKBONES[task]()))


def converted_whole(task):
    return convert(task(BACKBONES[task]()))


WAYS = pytest.mark.parametrize(
    ("task", "way"),
    rows(
        itertools.product(
            BACKBONES, (over_a_converted_backbone, converted_whole)
        ),
        few=[
            (cv_classifier, converted_whole),
            (zoo.hub_retinanet, over_a_converted_backbone),
        ],
    ),
    ids=lambda f: f.__name__,
)


@WAYS
def test_laurel_layers_are_on_the_path(task, way):
    model = way(task)
    assert len(keras_laurel.laurel_layers(model)) == SITES
    x = random_input(model)
    before = outputs(model, x)
    shake(model)
    assert_moved(outputs(model, x), before)


@TASKS
def test_a_task_is_converted_without_a_changed_bit(task):
    model = task(BACKBONES[task]())
    x = random_input(model)
    expected = outputs(model, x)
    converted = convert(model)
    assert isinstance(converted, type(model))
    assert_same_outputs(outputs(converted, x), expected)
    assert len(keras_laurel.laurel_layers(converted.backbone)) == SITES


# KerasCV's RetinaNet feeds itself a tensor where its input is a dict.
@pytest.mark.filterwarnings("ignore:(?s).*The structure of `inputs`")
@WAYS
def test_a_step_of_training(task, way):
    keras.utils.set_random_seed(0)
    model = way(task)
    layers = keras_laurel.laurel_layers(model)
    before = [keras.ops.convert_to_numpy(w) for w in weights(layers)]
    fit(model, task)
    after = [keras.ops.convert_to_numpy(w) for w in weights(layers)]
    assert all(np.isfinite(w).all() for w in after)
    assert not all(map(np.array_equal, before, after))


def weights(layers):
    return [w for layer in layers for w in layer.weights]


def fit(model, task):
    images = np.random.default_rng(0).uniform(size=(2, 64, 64, 3))
    images = images.astype("float32")
    labels = {
        "boxes": np.array([[[8.0, 8.0, 40.0, 40.0]]] * 2, "float32"),
    }
    if task is zoo.cv_retinanet:
        labels["classes"] = np.array([[1.0]] * 2, "float32")
        model.compile(
            optimizer="sgd",
            classification_loss="focal",
            box_loss="smoothl1",
        )
        model.fit(images, labels, batch_size=2, shuffle=False, verbose=0)
    elif task is zoo.hub_retinanet:
        labels["labels"] = np.array([[1.0]] * 2, "float32")
        model.compile(
            optimizer="sgd",
            classification_loss=keras.losses.BinaryFocalCrossentropy(
                from_logits=True, reduction="sum"
            ),
            box_loss=keras.losses.Huber(reduction="sum"),
        )
        model.fit(images, labels, batch_size=2, shuffle=False, verbose=0)
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(
            from_logits=task is hub_classifier
        )
        model.compile("sgd", loss)
        model.fit(
            images, np.array([0, 1]), batch_size=2, shuffle=False, verbose=0
        )


def test_keras_cv_feature_extractor_has_the_laurel_layers():
    from keras_cv.src.utils.train import get_feature_extractor

    backbone = cv_backbone()
    levels = list(backbone.pyramid_level_inputs)
    plain = get_feature_extractor(
        backbone, list(backbone.pyramid_level_inputs.values()), levels
    )
    x = random_input(plain)
    expected = outputs(plain, x)
    converted = convert(backbone)
    extractor = get_feature_extractor(
        converted, list(converted.pyramid_level_inputs.values()), levels
    )
    assert len(keras_laurel.laurel_layers(extractor)) == SITES
    assert_same_outputs(outputs(extractor, x), expected)
    shake(extractor)
    assert_moved(outputs(extractor, x), expected)


@pytest.mark.parametrize("build", [cv_backbone, zoo.cv_yolo])
def test_keras_cv_levels_survive_saving(build, tmp_path):
    converted = convert(build())
    converted.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.pyramid_level_inputs == converted.pyramid_level_inputs
    assert json.dumps(loaded.get_config()) == json.dumps(converted.get_config())


def test_keras_cv_levels_are_of_the_new_graph_at_additions_left_alone():
    """ResNetV2's levels are additions; the pooled ones are not converted."""
    import keras_cv

    plain = keras_cv.models.ResNetV2Backbone(
        stackwise_filters=[16, 16, 16, 16],
        stackwise_blocks=[2, 2, 2, 2],
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=False,
        input_shape=(64, 64, 3),
    )
    sites = keras_laurel.residual_sites(plain)
    chosen = [site for site in sites if site.kind == "projection"]
    names = {site.name for site in sites} - {site.name for site in chosen}
    assert names.intersection(plain.pyramid_level_inputs.values())
    expected = keras.Model(
        plain.input,
        {
            k: plain.get_layer(name).output
            for k, name in plain.pyramid_level_inputs.items()
        },
    )
    converted = keras_laurel.laurelize(
        plain, keras_laurel.LaurelRW(), sites=chosen
    )
    levels = converted.pyramid_level_inputs
    assert levels.keys() == plain.pyramid_level_inputs.keys()
    extractor = keras.Model(
        converted.input,
        {k: converted.get_layer(name).output for k, name in levels.items()},
    )
    assert keras_laurel.laurel_layers(extractor)
    x = random_input(plain)
    assert_same_outputs(outputs(extractor, x), outputs(expected, x))


def test_keras_hub_pyramid_outputs_have_the_laurel_layers():
    backbone = hub_backbone()
    x = random_input(backbone)
    plain = keras.Model(backbone.input, backbone.pyramid_outputs)
    expected = outputs(plain, x)
    converted = convert(backbone)
    pyramid = keras.Model(converted.input, converted.pyramid_outputs)
    assert len(keras_laurel.laurel_layers(pyramid)) == SITES
    assert_same_outputs(outputs(pyramid, x), expected)
