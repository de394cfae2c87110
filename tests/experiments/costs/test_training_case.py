"""ResNet-50 with LAuReL in some of its stages."""

import pytest

import keras_laurel
from experiments.costs.training_case import TrainingCase


@pytest.mark.parametrize(
    ("stages", "widths"),
    [((4,), [2048] * 3), ((3, 4), [1024] * 6 + [2048] * 3)],
)
def test_stages_say_where_connections_stand(stages, widths):
    case = TrainingCase("resnet50", "rw+lr", stages=stages)
    found = keras_laurel.laurel_layers(case.build_model())
    assert [layer.laurel_a.shape[1] for layer in found] == widths


@pytest.mark.parametrize("stages", [(0,), (1, 5)])
def test_stages_that_it_does_not_have(stages):
    with pytest.raises(ValueError, match="some of"):
        TrainingCase("resnet50", stages=stages)
