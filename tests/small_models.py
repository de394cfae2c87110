"""Models of a few thousand weights, and models without a value for any."""

import keras

import keras_laurel


def llama(num_layers=2, width=32, vocabulary_size=64, kind="Llama3", **options):
    """A KerasHub backbone."""
    import keras_hub

    return getattr(keras_hub.models, f"{kind}Backbone")(
        vocabulary_size=vocabulary_size,
        num_layers=num_layers,
        num_query_heads=4,
        num_key_value_heads=2,
        hidden_dim=width,
        intermediate_dim=2 * width,
        **options,
    )


def llama_language_model():
    """A KerasHub task that takes tokens, not compiled."""
    import keras_hub

    return keras_hub.models.Llama3CausalLM(llama(), compile=False)


class Loop(keras.Model):
    """One LAuReL layer that runs three times."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(16)
        self.residual = keras_laurel.LaurelLR(rank=2)

    def call(self, x):
        for _ in range(3):
            x = self.residual([x, self.dense(x)])
        return x


def residual_mlp():
    """Three residual additions of 8 features."""
    x = inputs = keras.Input((8,))
    for block in range(3):
        fx = keras.layers.Dense(8, name=f"dense_{block}")(x)
        x = keras.layers.Add(name=f"sum_{block}")([x, fx])
    return keras.Model(inputs, x, name="residual_mlp")


def convert(model, name="rw+lr", rank=4):
    return keras_laurel.laurelize(model, keras_laurel.get(name, rank=rank))


def without_values(build):
    """A model whose variables have shapes and no values."""
    with keras.StatelessScope(initialize_variables=False):
        model = build()
    # Or the next scope that ends would give them their values after all.
    keras.utils.clear_session()
    return model
