"""Convolutional networks, with and without projected shortcuts."""

import keras
from keras import layers
from keras import ops

from tests.conversion.inside.own_vision import StochasticDepth
from tests.conversion.inside.row import Row
from tests.conversion.inside.row import each
from tests.conversion.inside.row import image


@keras.saving.register_keras_serializable(package="own_networks")
class ConvNeXtBlock(layers.Layer):
    """Layer scale from the left, `gamma * x`: the operator of a variable."""

    def __init__(self, dim, layer_scale_init_value=0.5, **kwargs):
        super().__init__(**kwargs)
        self.dwconv = layers.DepthwiseConv2D(3, padding="same")
        self.norm = layers.LayerNormalization(epsilon=1e-6)
        self.pwconv1 = layers.Dense(2 * dim)
        self.pwconv2 = layers.Dense(dim)
        self.dim, self.init_value = dim, layer_scale_init_value

    def build(self, input_shape):
        self.gamma = self.add_weight(
            name="gamma",
            shape=(self.dim,),
            initializer=keras.initializers.Constant(self.init_value),
        )
        super().build(input_shape)

    def call(self, inputs):
        x = self.norm(self.dwconv(inputs))
        x = self.pwconv2(ops.gelu(self.pwconv1(x)))
        x = self.scale(x)
        return inputs + x  # residual

    def scale(self, x):
        return self.gamma * x


@keras.saving.register_keras_serializable(package="own_networks")
class ScaledFromTheRight(ConvNeXtBlock):
    def scale(self, x):
        return x * self.gamma


@keras.saving.register_keras_serializable(package="own_networks")
class ConvNeXt(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.stem = layers.Conv2D(8, 2, 2)
        self.stages = [
            keras.Sequential([ConvNeXtBlock(8), ScaledFromTheRight(8)]),
            keras.Sequential([layers.Conv2D(16, 2, 2), ConvNeXtBlock(16)]),
        ]
        self.head = layers.Dense(3)

    def call(self, x):
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.head(ops.mean(x, axis=[1, 2]))


@keras.saving.register_keras_serializable(package="own_networks")
class MBConv(layers.Layer):
    def __init__(self, in_dim, out_dim, strides, **kwargs):
        super().__init__(**kwargs)
        hidden = 2 * in_dim
        self.expand = layers.Conv2D(hidden, 1, use_bias=False)
        self.bn1 = layers.BatchNormalization()
        self.depthwise = layers.DepthwiseConv2D(3, strides, padding="same")
        self.bn2 = layers.BatchNormalization()
        self.squeeze = layers.GlobalAveragePooling2D(keepdims=True)
        self.reduce = layers.Conv2D(4, 1, activation="swish")
        self.excite = layers.Conv2D(hidden, 1, activation="sigmoid")
        self.project = layers.Conv2D(out_dim, 1, use_bias=False)
        self.bn3 = layers.BatchNormalization()
        self.dropout = layers.Dropout(0.2, noise_shape=(None, 1, 1, 1))
        self.has_skip = strides == 1 and in_dim == out_dim

    def call(self, inputs, training=False):
        x = ops.swish(self.bn1(self.expand(inputs), training=training))
        x = ops.swish(self.bn2(self.depthwise(x), training=training))
        x = x * self.excite(self.reduce(self.squeeze(x)))
        x = self.bn3(self.project(x), training=training)
        if self.has_skip:
            x = self.dropout(x, training=training)
            x = x + inputs  # residual right
        return x


@keras.saving.register_keras_serializable(package="own_networks")
class EfficientNet(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.stem = layers.Conv2D(8, 3, padding="same")
        self.blocks = [MBConv(8, 8, 1), MBConv(8, 16, 2), MBConv(16, 16, 1)]
        self.head = layers.Dense(3, activation="softmax")

    def call(self, x, training=False):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, training=training)
        return self.head(layers.GlobalAveragePooling2D()(x))


@keras.saving.register_keras_serializable(package="own_networks")
class ResidualUnit(layers.Layer):
    def __init__(self, filters, strides=1, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.strides = filters, strides
        self.conv1 = layers.Conv2D(filters, 3, strides, padding="same")
        self.bn1 = layers.BatchNormalization()
        self.conv2 = layers.Conv2D(filters, 3, padding="same")
        self.bn2 = layers.BatchNormalization()
        self.add = layers.Add()
        self.relu = layers.ReLU()
        self.projection = None

    def build(self, input_shape):
        if self.strides != 1 or input_shape[-1] != self.filters:
            self.projection = layers.Conv2D(self.filters, 1, self.strides)
            self.projection_bn = layers.BatchNormalization()

    def call(self, inputs):
        x = self.relu(self.bn1(self.conv1(inputs)))
        x = self.bn2(self.conv2(x))
        shortcut = inputs
        if self.projection is not None:
            shortcut = self.projection_bn(self.projection(inputs))
        x = self.add([shortcut, x])  # residual
        return self.relu(x)


@keras.saving.register_keras_serializable(package="own_networks")
class ResNet(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.stem = layers.Conv2D(8, 3, padding="same")
        self.stage1 = [ResidualUnit(8), ResidualUnit(8), ResidualUnit(8)]
        self.stage2 = [ResidualUnit(16, 2), ResidualUnit(16)]
        self.classifier = layers.Dense(3)

    def call(self, inputs, training=None):
        x = self.stem(inputs)
        for unit in self.stage1 + self.stage2:
            x = unit(x)
        return self.classifier(ops.max(x, axis=(1, 2)))


@keras.saving.register_keras_serializable(package="own_networks")
class BottleneckUnit(layers.Layer):
    """The whole block before the addition is pre-activated."""

    def __init__(self, filters, rate=0.2, **kwargs):
        super().__init__(**kwargs)
        self.layer_list = [
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.Conv2D(filters // 2, 1, use_bias=False),
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.Conv2D(filters, 3, padding="same", use_bias=False),
        ]
        self.drop_path = StochasticDepth(rate)

    def call(self, inputs, training=None):
        x = inputs
        for layer in self.layer_list:
            if isinstance(layer, layers.BatchNormalization):
                x = layer(x, training=training)
            else:
                x = layer(x)
        x = self.drop_path(x, training=training)
        x += inputs  # residual right
        return x


@keras.saving.register_keras_serializable(package="own_networks")
class PreActivation(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = {
            "stem": layers.Conv2D(8, 3, padding="same"),
            "first": BottleneckUnit(8),
            "second": BottleneckUnit(8),
        }

    def call(self, x, training=None):
        for block in self.blocks.values():
            x = block(x)
        return x


@keras.saving.register_keras_serializable(package="own_networks")
class UNetBlock(layers.Layer):
    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.norm = layers.BatchNormalization(center=False, scale=False)
        self.conv1 = layers.Conv2D(width, 3, padding="same", activation="swish")
        self.conv2 = layers.Conv2D(width, 3, padding="same")

    def build(self, input_shape):
        if input_shape[-1] == self.width:
            self.residual = lambda x: x
        else:
            self.residual = layers.Conv2D(self.width, 1)

    def call(self, x):
        residual = self.residual(x)
        x = self.conv2(self.conv1(self.norm(x)))
        return layers.add([x, residual])  # residual right


@keras.saving.register_keras_serializable(package="own_networks")
class UNet(keras.Model):
    """Skips of the U are concatenated; residuals stand in its blocks."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.down = [UNetBlock(8), UNetBlock(16)]
        self.pool = layers.AveragePooling2D(2)
        self.middle = UNetBlock(16)
        self.up = [UNetBlock(16), UNetBlock(8)]
        self.upsample = layers.UpSampling2D(2, interpolation="bilinear")
        self.last = layers.Conv2D(3, 1, kernel_initializer="zeros")

    def call(self, x):
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = self.pool(x)
        x = self.middle(x)
        for block in self.up:
            x = self.upsample(x)
            x = layers.Concatenate()([x, skips.pop()])
            x = block(x)
        return x


ROWS = {
    # Two blocks in the first stage, one in the second, whose stem is none.
    "convnext": Row(ConvNeXt, image, each("stages", 2, 1), any_length=False),
    # The middle block changes width and resolution and has no skip.
    "efficientnet": Row(
        EfficientNet, image, ("blocks.0", "blocks.2"), any_length=False
    ),
    # Three identities, one projection, one identity.
    "resnet": Row(
        ResNet,
        image,
        each("stage1", 1, 1, 1) + each("stage2", 1, 1),
        any_length=False,
    ),
    # Blocks in a dict; one block adds in place.
    "pre-activation": Row(
        PreActivation,
        image,
        ("blocks.first", "blocks.second"),
        any_length=False,
    ),
    # All five blocks, those that project their shortcut too. Which skips are
    # of one stream is a matter of taste, so history is not compared.
    "u-net": Row(
        UNet,
        image,
        each("down", 1, 1) + ("middle",) + each("up", 1, 1),
        any_length=False,
        history=False,
    ),
}
