"""Models of sound, time series and graphs."""

import keras
import numpy as np
from keras import layers
from keras import ops

from tests.conversion.inside.row import WIDTH
from tests.conversion.inside.row import Row
from tests.conversion.inside.row import each
from tests.conversion.inside.row import sequence


@keras.saving.register_keras_serializable(package="own_signals")
class WaveNetBlock(layers.Layer):
    def __init__(self, channels, dilation, **kwargs):
        super().__init__(**kwargs)
        self.filter = layers.Conv1D(
            channels, 2, dilation_rate=dilation, padding="causal"
        )
        self.gate = layers.Conv1D(
            channels, 2, dilation_rate=dilation, padding="causal"
        )
        self.res_conv = layers.Conv1D(channels, 1)
        self.skip_conv = layers.Conv1D(channels, 1)

    def call(self, x):
        h = ops.tanh(self.filter(x)) * ops.sigmoid(self.gate(x))
        return x + self.res_conv(h), self.skip_conv(h)  # residual


@keras.saving.register_keras_serializable(package="own_signals")
class WaveNet(keras.Model):
    def __init__(self, channels=8, **kwargs):
        super().__init__(**kwargs)
        self.front = layers.Conv1D(channels, 1)
        self.blocks = [WaveNetBlock(channels, 2**i) for i in range(3)]
        self.out1 = layers.Conv1D(channels, 1, activation="relu")
        self.out2 = layers.Conv1D(4, 1)

    def call(self, x):
        x = self.front(x)
        skips = []
        for block in self.blocks:
            x, skip = block(x)
            skips.append(skip)
        total = ops.relu(layers.Add()(skips))
        return self.out2(self.out1(ops.concatenate([total, x], axis=-1)))


@keras.saving.register_keras_serializable(package="own_signals")
class ConvModule(layers.Layer):
    def __init__(self, dim, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.LayerNormalization()
        self.pointwise1 = layers.Conv1D(2 * dim, 1)
        self.depthwise = layers.DepthwiseConv1D(3, padding="same")
        self.bn = layers.BatchNormalization()
        self.pointwise2 = layers.Conv1D(dim, 1)

    def call(self, x, training=None):
        x = ops.glu(self.pointwise1(self.norm(x)))
        x = ops.swish(self.bn(self.depthwise(x), training=training))
        return self.pointwise2(x)


@keras.saving.register_keras_serializable(package="own_signals")
class ConformerBlock(layers.Layer):
    def __init__(self, dim, **kwargs):
        super().__init__(**kwargs)
        self.ff1 = self._feed_forward(dim)
        self.attention_norm = layers.LayerNormalization()
        self.attention = layers.MultiHeadAttention(2, dim // 2)
        self.conv = ConvModule(dim)
        self.ff2 = self._feed_forward(dim)
        self.norm = layers.LayerNormalization()

    def _feed_forward(self, dim):
        return keras.Sequential(
            [
                layers.LayerNormalization(),
                layers.Dense(2 * dim, activation="swish"),
                layers.Dropout(0.1),
                layers.Dense(dim),
            ]
        )

    def call(self, x, training=None):
        x = x + 0.5 * self.ff1(x, training=training)  # residual
        h = self.attention_norm(x)
        x = x + self.attention(h, h, training=training)  # residual
        x = x + self.conv(x, training=training)  # residual
        x = x + 0.5 * self.ff2(x, training=training)  # residual
        return self.norm(x)


@keras.saving.register_keras_serializable(package="own_signals")
class Conformer(keras.Model):
    def __init__(self, dim=8, **kwargs):
        super().__init__(**kwargs)
        self.subsampling = layers.Conv1D(dim, 3, padding="same")
        self.encoder = [ConformerBlock(dim), ConformerBlock(dim)]
        self.ctc = layers.Dense(5, activation="log_softmax")

    def call(self, x, training=None):
        x = self.subsampling(x)
        for block in self.encoder:
            x = block(x, training=training)
        return self.ctc(x)


@keras.saving.register_keras_serializable(package="own_signals")
class SpeechFeatureEmbedding(layers.Layer):
    def __init__(self, num_hid=8, **kwargs):
        super().__init__(**kwargs)
        self.conv1 = layers.Conv1D(num_hid, 3, 1, "same", activation="relu")
        self.conv2 = layers.Conv1D(num_hid, 3, 1, "same", activation="relu")

    def call(self, x):
        return self.conv2(self.conv1(x))


@keras.saving.register_keras_serializable(package="own_signals")
class SpeechEncoderLayer(layers.Layer):
    def __init__(self, embed_dim, num_heads, feed_forward_dim, **kwargs):
        super().__init__(**kwargs)
        self.att = layers.MultiHeadAttention(num_heads, key_dim=embed_dim)
        self.ffn = keras.Sequential(
            [
                layers.Dense(feed_forward_dim, activation="relu"),
                layers.Dense(embed_dim),
            ]
        )
        self.layernorm1 = layers.LayerNormalization(epsilon=1e-6)
        self.layernorm2 = layers.LayerNormalization(epsilon=1e-6)
        self.dropout1 = layers.Dropout(0.1)
        self.dropout2 = layers.Dropout(0.1)

    def call(self, inputs, training=False):
        attn_output = self.att(inputs, inputs)
        attn_output = self.dropout1(attn_output, training=training)
        out1 = self.layernorm1(inputs + attn_output)  # residual
        ffn_output = self.ffn(out1)
        ffn_output = self.dropout2(ffn_output, training=training)
        return self.layernorm2(out1 + ffn_output)  # residual


@keras.saving.register_keras_serializable(package="own_signals")
class SpeechEncoder(keras.Model):
    def __init__(self, num_hid=8, num_layers=2, **kwargs):
        super().__init__(**kwargs)
        self.enc_input = SpeechFeatureEmbedding(num_hid)
        self.encoder = keras.Sequential(
            [self.enc_input]
            + [
                SpeechEncoderLayer(num_hid, 2, 16, name=f"layer_{i}")
                for i in range(num_layers)
            ]
        )
        self.classifier = layers.Dense(5)

    def call(self, inputs):
        return self.classifier(self.encoder(inputs))


@keras.saving.register_keras_serializable(package="own_signals")
class ResidualWrapper(keras.Model):
    """As in the TensorFlow tutorial on time series."""

    def __init__(self, model, **kwargs):
        super().__init__(**kwargs)
        self.model = model

    def call(self, inputs, *args, **kwargs):
        delta = self.model(inputs, *args, **kwargs)
        return inputs + delta  # residual


def recurrent():
    return keras.Sequential(
        [
            ResidualWrapper(
                keras.Sequential(
                    [cell(WIDTH, return_sequences=True), layers.Dense(WIDTH)]
                ),
                name=f"wrapper_{i}",
            )
            for i, cell in enumerate((layers.LSTM, layers.GRU))
        ]
    )


@keras.saving.register_keras_serializable(package="own_signals")
class SeriesEncoder(layers.Layer):
    def __init__(self, head_size, num_heads, ff_dim, dropout=0.1, **kwargs):
        super().__init__(**kwargs)
        self.attention = layers.MultiHeadAttention(
            key_dim=head_size, num_heads=num_heads, dropout=dropout
        )
        self.dropout = layers.Dropout(dropout)
        self.norm1 = layers.LayerNormalization(epsilon=1e-6)
        self.norm2 = layers.LayerNormalization(epsilon=1e-6)
        self.ff_dim = ff_dim

    def build(self, input_shape):
        self.conv1 = layers.Conv1D(self.ff_dim, 1, activation="relu")
        self.conv2 = layers.Conv1D(input_shape[-1], 1)

    def call(self, inputs):
        x = self.attention(inputs, inputs)
        x = self.norm1(self.dropout(x))
        res = x + inputs  # residual right
        x = self.conv2(self.dropout(self.conv1(res)))
        x = self.norm2(x)
        return x + res  # residual right


def time_series():
    inputs = keras.Input((None, WIDTH))
    x = inputs
    for i in range(2):
        x = SeriesEncoder(4, 2, 4, name=f"encoder_{i}")(x)
    x = layers.GlobalAveragePooling1D(data_format="channels_last")(x)
    x = layers.Dropout(0.1)(layers.Dense(8, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(x))


@keras.saving.register_keras_serializable(package="own_signals")
class GraphAttention(layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        width = input_shape[0][-1]
        self.kernel = self.add_weight(
            shape=(width, self.units), initializer="glorot_uniform"
        )
        self.kernel_attention = self.add_weight(
            shape=(2 * self.units, 1), initializer="glorot_uniform"
        )

    def call(self, inputs):
        node_states, edges = inputs
        transformed = ops.matmul(node_states, self.kernel)
        expanded = ops.take(transformed, edges, axis=0)
        expanded = ops.reshape(expanded, (-1, 2 * self.units))
        scores = ops.leaky_relu(ops.matmul(expanded, self.kernel_attention))
        scores = ops.exp(ops.clip(ops.squeeze(scores, -1), -2, 2))
        count = ops.shape(node_states)[0]
        total = ops.segment_sum(scores, edges[:, 0], num_segments=count)
        scores = scores / ops.take(total + 1e-9, edges[:, 0], axis=0)
        neighbours = ops.take(transformed, edges[:, 1], axis=0)
        return ops.segment_sum(
            neighbours * scores[:, None], edges[:, 0], num_segments=count
        )


@keras.saving.register_keras_serializable(package="own_signals")
class GraphAttentionNetwork(keras.Model):
    """Adds in its own `call`, in a loop."""

    def __init__(self, units=8, num_layers=2, **kwargs):
        super().__init__(**kwargs)
        self.preprocess = layers.Dense(units, activation="relu")
        self.attention_layers = [
            GraphAttention(units) for _ in range(num_layers)
        ]
        self.output_layer = layers.Dense(3)

    def call(self, inputs):
        node_states, edges = inputs
        x = self.preprocess(node_states)
        for attention_layer in self.attention_layers:
            x = attention_layer([x, edges]) + x  # residual right
        return self.output_layer(x)


def graph(batch, length, rng):
    """Nodes and edges; there is no batch."""
    count = batch * length
    nodes = rng.normal(size=(count, WIDTH)).astype("float32")
    edges = np.stack([np.arange(count), (np.arange(count) + 1) % count], 1)
    return nodes, edges.astype("int32")


@keras.saving.register_keras_serializable(package="own_signals")
class GraphConvolution(layers.Layer):
    def __init__(self, hidden, **kwargs):
        super().__init__(**kwargs)
        self.ffn_prepare = keras.Sequential(
            [layers.BatchNormalization(), layers.Dense(hidden, "gelu")]
        )
        self.ffn_update = keras.Sequential(
            [layers.BatchNormalization(), layers.Dense(hidden, "gelu")]
        )

    def call(self, inputs):
        nodes, adjacency = inputs["nodes"], inputs["adjacency"]
        messages = ops.matmul(adjacency, self.ffn_prepare(nodes))
        update = self.ffn_update(ops.concatenate([nodes, messages], axis=-1))
        nodes = nodes + update  # residual
        return {"nodes": nodes, "adjacency": adjacency}


@keras.saving.register_keras_serializable(package="own_signals")
class GraphNetwork(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv1 = GraphConvolution(WIDTH)
        self.conv2 = GraphConvolution(WIDTH)

    def call(self, inputs):
        return self.conv2(self.conv1(inputs))["nodes"]


def dense_graph(batch, length, rng):
    return {
        "nodes": sequence(batch, length, rng),
        "adjacency": rng.uniform(size=(batch, length, length)).astype(
            "float32"
        ),
    }


ROWS = {
    # One a block; the sum of the skips is none.
    "wavenet": Row(WaveNet, sequence, each("blocks", 1, 1, 1)),
    # Four a block, two of them half steps.
    "conformer": Row(Conformer, sequence, each("encoder", 4, 4)),
    "speech": Row(
        SpeechEncoder,
        sequence,
        ("layer_0", "layer_0", "layer_1", "layer_1"),
    ),
    # A wrapper that takes a model; it has no `get_config`.
    "recurrent": Row(
        recurrent, sequence, ("wrapper_0", "wrapper_1"), saves=False
    ),
    "time series": Row(
        time_series, sequence, ("encoder_0",) * 2 + ("encoder_1",) * 2
    ),
    # Both in the model's own `call`.
    "graph attention": Row(GraphAttentionNetwork, graph, ("", "")),
    "graph convolution": Row(GraphNetwork, dense_graph, ("conv1", "conv2")),
}
