"""Models of images and sound in other hands' styles, as `other_text`."""

import functools

import keras
from keras import layers
from keras import ops

from tests.conversion.inside.row import WIDTH
from tests.conversion.inside.row import Row
from tests.conversion.inside.row import each
from tests.conversion.inside.row import image
from tests.conversion.inside.row import sequence


class DropPath(layers.Layer):
    def __init__(self, drop_prob=0.0, **kwargs):
        super().__init__(**kwargs)
        self.drop_prob = drop_prob
        self.seed = keras.random.SeedGenerator(7)

    def call(self, x, training=None):
        if self.drop_prob == 0.0 or not training:
            return x
        keep = 1 - self.drop_prob
        shape = (ops.shape(x)[0],) + (1,) * (x.ndim - 1)
        mask = keras.random.uniform(shape, seed=self.seed) < keep
        return x / keep * ops.cast(mask, x.dtype)


class LayerScale(layers.Layer):
    def __init__(self, dim, init_values=1e-1, **kwargs):
        super().__init__(**kwargs)
        self.gamma = self.add_weight(
            shape=(dim,), initializer=keras.initializers.Constant(init_values)
        )

    def call(self, x):
        return x * self.gamma


class TimmAttention(layers.Layer):
    def __init__(self, dim, num_heads=2, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.scale = self.head_dim**-0.5
        self.qkv = layers.Dense(dim * 3)
        self.proj = layers.Dense(dim)
        self.proj_drop = layers.Dropout(0.1)

    def call(self, x):
        B, N, C = ops.shape(x)
        qkv = ops.reshape(self.qkv(x), (B, N, 3, self.num_heads, self.head_dim))
        q, k, v = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), 3)
        attn = (q * self.scale) @ ops.transpose(k, (0, 1, 3, 2))
        x = ops.softmax(attn, axis=-1) @ v
        x = ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (B, N, C))
        return self.proj_drop(self.proj(x))


class TimmBlock(layers.Layer):
    def __init__(self, dim, norm_layer, drop_path=0.0, **kwargs):
        super().__init__(**kwargs)
        self.norm1 = norm_layer()
        self.attn = TimmAttention(dim)
        self.ls1, self.ls2 = LayerScale(dim), LayerScale(dim)
        self.drop_path1 = (
            DropPath(drop_path) if drop_path > 0 else (lambda x: x)
        )
        self.drop_path2 = (
            DropPath(drop_path) if drop_path > 0 else (lambda x: x)
        )
        self.norm2 = norm_layer()
        self.mlp = keras.Sequential(
            [layers.Dense(2 * dim, activation="gelu"), layers.Dense(dim)]
        )

    def call(self, x):
        x = x + self.drop_path1(self.ls1(self.attn(self.norm1(x))))  # residual
        x = x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))  # residual
        return x


class TimmViT(keras.Model):
    """A class token, positions that are a weight, rates that grow."""

    def __init__(self, dim=WIDTH, depth=2, **kwargs):
        super().__init__(**kwargs)
        norm_layer = functools.partial(layers.LayerNormalization, epsilon=1e-6)
        self.proj = layers.Conv2D(dim, 4, 4)
        self.cls_token = self.add_weight(shape=(1, 1, dim), name="cls")
        self.pos_embed = self.add_weight(shape=(1, 5, dim), name="pos")
        self.blocks = [
            TimmBlock(dim, norm_layer, drop_path=0.2 * i) for i in range(depth)
        ]
        self.norm = norm_layer()
        self.head = layers.Dense(3)

    def forward_features(self, x):
        x = self.proj(x)
        batch = ops.shape(x)[0]
        x = ops.reshape(x, (batch, -1, x.shape[-1]))
        cls = ops.broadcast_to(self.cls_token, (batch, 1, x.shape[-1]))
        x = ops.concatenate([cls, x], axis=1) + self.pos_embed
        for blk in self.blocks:
            x = blk(x)
        return self.norm(x)

    def call(self, x):
        return self.head(self.forward_features(x)[:, 0])


class Pooling(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.pool = layers.AveragePooling2D(3, 1, padding="same")

    def call(self, x):
        return self.pool(x) - x


class PoolFormerBlock(layers.Layer):
    def __init__(self, dim, **kwargs):
        super().__init__(**kwargs)
        self.norm1 = layers.GroupNormalization(1)
        self.token_mixer = Pooling()
        self.norm2 = layers.GroupNormalization(1)
        self.fc1 = layers.Conv2D(2 * dim, 1, activation="gelu")
        self.fc2 = layers.Conv2D(dim, 1)
        self.scale_1 = self.add_weight(shape=(dim,), initializer="ones")
        self.scale_2 = self.add_weight(shape=(dim,), initializer="ones")

    def call(self, x):
        x = x + self.scale_1[None, None, None] * self.token_mixer(  # residual
            self.norm1(x)
        )
        return x + ops.multiply(  # residual
            ops.expand_dims(self.scale_2, 0), self.fc2(self.fc1(self.norm2(x)))
        )


class PoolFormer(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.patch_embed = layers.Conv2D(WIDTH, 3, 2, "same")
        self.network = keras.Sequential(
            [PoolFormerBlock(WIDTH, name=f"pool_{i}") for i in range(2)]
        )

    def call(self, x):
        return ops.mean(self.network(self.patch_embed(x)), axis=(1, 2))


class BasicBlock(keras.Model):
    """kuangliu's; a block that is a model, and adds in place."""

    expansion = 1

    def __init__(self, in_planes, planes, stride=1, **kwargs):
        super().__init__(**kwargs)
        self.conv1 = layers.Conv2D(planes, 3, stride, "same", use_bias=False)
        self.bn1 = layers.BatchNormalization()
        self.conv2 = layers.Conv2D(planes, 3, 1, "same", use_bias=False)
        self.bn2 = layers.BatchNormalization()
        self.shortcut = keras.Sequential()
        if stride != 1 or in_planes != self.expansion * planes:
            self.shortcut.add(layers.Conv2D(planes, 1, stride, use_bias=False))
            self.shortcut.add(layers.BatchNormalization())
        else:
            self.shortcut = layers.Identity()

    def call(self, x):
        out = keras.activations.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)  # residual right
        out = keras.activations.relu(out)
        return out


class CifarResNet(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.in_planes = WIDTH
        self.conv1 = layers.Conv2D(WIDTH, 3, 1, "same", use_bias=False)
        self.layer1 = self._make_layer(BasicBlock, WIDTH, 2, stride=1)
        self.layer2 = self._make_layer(BasicBlock, 2 * WIDTH, 2, stride=2)
        self.linear = layers.Dense(3)

    def _make_layer(self, block, planes, num_blocks, stride):
        found = []
        for i, s in enumerate([stride] + [1] * (num_blocks - 1)):
            found.append(block(self.in_planes, planes, s, name=f"{planes}_{i}"))
            self.in_planes = planes * block.expansion
        return keras.Sequential(found)

    def call(self, x):
        out = self.layer2(self.layer1(ops.relu(self.conv1(x))))
        return self.linear(layers.GlobalAveragePooling2D()(out))


def checked(call):
    """A decorator around `call`, as of type checkers."""

    @functools.wraps(call)
    def wrapper(self, *args, **kwargs):
        if len(args) != 1:
            raise TypeError(f"{self.name} takes one tensor")
        return call(self, *args, **kwargs)

    return wrapper


def make_divisible(v, divisor=8):
    return max(divisor, int(v + divisor / 2) // divisor * divisor)


class InvertedResidual(layers.Layer):
    def __init__(self, inp, oup, stride, expand_ratio, **kwargs):
        super().__init__(**kwargs)
        self.use_res_connect = stride == 1 and inp == oup
        hidden = make_divisible(inp * expand_ratio)
        self.conv = keras.Sequential(
            [
                layers.Conv2D(hidden, 1, use_bias=False),
                layers.BatchNormalization(),
                layers.ReLU(6.0),
                layers.DepthwiseConv2D(3, stride, "same", use_bias=False),
                layers.BatchNormalization(),
                layers.Activation("hard_swish"),
                layers.Conv2D(oup, 1, use_bias=False),
                layers.BatchNormalization(),
            ]
        )

    @checked
    def call(self, x):
        if self.use_res_connect:
            return x + self.conv(x)  # residual
        else:
            return self.conv(x)


class MobileNet(keras.Model):
    cfg = ((WIDTH, WIDTH, 1, 2), (WIDTH, 16, 2, 2), (16, 16, 1, 2))

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Conv2D(WIDTH, 3, padding="same")
        for i, arguments in enumerate(self.cfg):
            setattr(self, f"block{i}", InvertedResidual(*arguments))
        self.classifier = layers.Dense(3)

    def call(self, x):
        x = self.first(x)
        for i in range(len(self.cfg)):
            x = getattr(self, f"block{i}")(x)
        return self.classifier(ops.mean(x, (1, 2)))


class ReflectionPadding2D(layers.Layer):
    def __init__(self, padding=(1, 1), **kwargs):
        super().__init__(**kwargs)
        self.padding = tuple(padding)

    def call(self, input_tensor, mask=None):
        w, h = self.padding
        return ops.pad(
            input_tensor, [[0, 0], [h, h], [w, w], [0, 0]], mode="reflect"
        )


class ResnetBlock(layers.Layer):
    def __init__(self, dim, activation, **kwargs):
        super().__init__(**kwargs)
        self.parts = [
            ReflectionPadding2D(),
            layers.Conv2D(dim, 3, use_bias=False),
            layers.GroupNormalization(-1),
            activation,
            ReflectionPadding2D(),
            layers.Conv2D(dim, 3, use_bias=False),
            layers.GroupNormalization(-1),
        ]

    def call(self, input_tensor):
        x = input_tensor
        for part in self.parts:
            x = part(x)
        x = layers.add([input_tensor, x])  # residual
        return x


class Generator(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.head = layers.Conv2D(WIDTH, 7, padding="same")
        self.body = {
            str(i): ResnetBlock(WIDTH, layers.ReLU()) for i in range(2)
        }
        self.tail = layers.Conv2D(3, 7, padding="same", activation="tanh")

    def call(self, x):
        x = self.head(x)
        for key in sorted(self.body):
            x = self.body[key](x)
        return self.tail(x)


class SRBlock(layers.Layer):
    def __init__(self, filters, res_scale=0.1, **kwargs):
        super().__init__(**kwargs)
        self.res_scale = res_scale
        self.conv1 = layers.Conv2D(filters, 3, padding="same")
        self.conv2 = layers.Conv2D(filters, 3, padding="same")

    def call(self, x):
        res = self.conv2(ops.relu(self.conv1(x)))
        res *= self.res_scale
        res += x  # residual right
        return res


class EDSR(keras.Model):
    """A skip around the whole body, and pixels that are shuffled."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.head = layers.Conv2D(WIDTH, 3, padding="same")
        self.body = [SRBlock(WIDTH) for _ in range(2)]
        self.last = layers.Conv2D(WIDTH, 3, padding="same")
        self.up = layers.Conv2D(4 * 3, 3, padding="same")

    def pixel_shuffle(self, x, r=2):
        b, h, w, c = ops.shape(x)
        x = ops.reshape(x, (b, h, w, r, r, c // (r * r)))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (b, h * r, w * r, c // (r * r)))

    def call(self, x):
        x = self.head(x)
        res = x
        for block in self.body:
            res = block(res)
        res = self.last(res)
        res += x  # residual right
        return self.pixel_shuffle(self.up(res))


class TemporalBlock(layers.Layer):
    def __init__(self, n_outputs, dilation, **kwargs):
        super().__init__(**kwargs)
        conv = functools.partial(
            layers.Conv1D,
            n_outputs,
            3,
            padding="causal",
            dilation_rate=dilation,
        )
        self.net = [conv(), layers.ReLU(), layers.Dropout(0.1), conv()]
        self.n_outputs = n_outputs

    def build(self, input_shape):
        n_inputs = input_shape[-1]
        self.downsample = (
            layers.Conv1D(self.n_outputs, 1)
            if n_inputs != self.n_outputs
            else None
        )

    def call(self, x, training=False):
        out = x
        for layer in self.net:
            out = layer(out)
        res = x if self.downsample is None else self.downsample(x)
        return ops.relu(ops.add(out, res))  # residual right


class TCN(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.network = [
            TemporalBlock(n, 2**i) for i, n in enumerate((8, 16, 16))
        ]
        self.linear = layers.Dense(3)

    def call(self, x, training=False):
        for level in self.network:
            x = level(x, training=training)
        return self.linear(x[:, -1, :])


def still(*where):
    """A row whose images have one size, and whose classes do not save."""
    return {"where": where, "any_length": False, "saves": False}


ROWS = {
    # Not the positions, which are a weight.
    "timm": Row(TimmViT, image, **still(*each("blocks", 2, 2))),
    # The pooled branch learns nothing but its scale; it is a residual step.
    "poolformer": Row(
        PoolFormer, image, **still("pool_0", "pool_0", "pool_1", "pool_1")
    ),
    "cifar": Row(CifarResNet, image, **still("8_0", "8_1", "16_0", "16_1")),
    "mobilenet": Row(MobileNet, image, **still("block0", "block2")),
    "generator": Row(Generator, image, **still("body.0", "body.1")),
    # Two blocks, then the skip around both.
    "edsr": Row(EDSR, image, **still("body.0", "body.1", ""), history=False),
    "tcn": Row(TCN, sequence, each("network", 1, 1, 1), saves=False),
}
