"""A training step in PyTorch, eager: LAuReL beside a plain torch form of it.

A transformer of 12 blocks of width 256 with a connection at each addition,
once of Keras layers and once of `torch.nn` with the same equations written
out. All variants of both take turns in one process; each is compared with the
plain network of its own kind. Beside the ratio of times: the operations that
PyTorch dispatches in a step (kernels, on a GPU) and the bytes that it keeps
for the backward pass, as differences for each connection.

    python benchmarks/torch_step.py
    python benchmarks/torch_step.py --device cuda --rounds 50
"""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from measuring import interleaved  # noqa: E402
from measuring import parser  # noqa: E402
from measuring import ratio  # noqa: E402
from measuring import write  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

import keras_laurel  # noqa: E402

BLOCKS, WIDTH, HEADS, HIDDEN, RANK, ACTIVATIONS = 12, 256, 4, 1024, 16, 3
BATCH, LENGTH = 8, 128
VARIANTS = ("rw", "lr", "pa", "rw+lr", "rw+lr+pa")
FORMS = ("keras_laurel", "plain torch")


def main():
    arguments = parse_arguments()
    torch.set_default_device(arguments.device)
    torch.manual_seed(0)
    steps = {
        (form, variant): Step(form, variant, arguments.device)
        for form in FORMS
        for variant in ("baseline", *VARIANTS)
    }
    measured = interleaved(steps, arguments.rounds)
    rows = []
    for form in FORMS:
        plain = steps[form, "baseline"]
        for variant in VARIANTS:
            step = steps[form, variant]
            row = {
                "form": form,
                "variant": variant,
                **ratio(measured, (form, variant), (form, "baseline")),
                "operations_each": per_connection(step, plain, "operations"),
                "saved_bytes_each": per_connection(step, plain, "saved_bytes"),
            }
            rows.append(row)
            low, high = row["quartiles"]
            print(
                f"{form:12} {variant:9} {row['median']:.3f} ({low:.3f} to "
                f"{high:.3f}), each connection {row['operations_each']:.1f} "
                f"operations, {row['saved_bytes_each']:.0f} bytes kept",
                flush=True,
            )
    write(
        "torch_step",
        rows,
        command="python benchmarks/torch_step.py",
        unit="training step over that of the plain network of the same form; "
        "operations and bytes kept over it, for each of 24 connections",
        setting=f"{BLOCKS} blocks, D = {WIDTH}, rank {RANK}, k "
        f"{ACTIVATIONS}, batch {BATCH} x {LENGTH}, float32, SGD, eager",
        device=device_name(arguments.device),
    )


def per_connection(step, plain, what):
    return (getattr(step, what) - getattr(plain, what)) / (2 * BLOCKS)


def device_name(device):
    return torch.cuda.get_device_name() if device == "cuda" else device


class Step:
    """A training step of one network, and what it was counted to do."""

    def __init__(self, form, variant, device):
        build = {"keras_laurel": keras_model, "plain torch": TorchModel}[form]
        self.device = device
        self.model = build(variant)
        values = np.random.default_rng(0).normal(size=(BATCH, LENGTH, WIDTH))
        self.x = torch.tensor(values, dtype=torch.float32, device=device)
        self.model(self.x)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 1e-3)
        self()
        self.saved_bytes = self._saved_bytes()
        with Counting() as counting:
            self._loss().backward()
        self.operations = counting.operations

    def __call__(self):
        self.optimizer.zero_grad(set_to_none=True)
        self._loss().backward()
        self.optimizer.step()
        if self.device == "cuda":
            torch.cuda.synchronize()

    def _loss(self):
        return torch.mean(torch.square(self.model(self.x)))

    def _saved_bytes(self):
        kept = {}

        def keep(tensor):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            loss = self._loss()
        del loss
        return sum(kept.values())


class Counting(TorchDispatchMode):
    """Counts the operations that are no views."""

    operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        is_view = any(
            argument.alias_info and not argument.alias_info.is_write
            for argument in function._schema.arguments
        )
        self.operations += not is_view
        return function(*args, **(kwargs or {}))


def keras_model(variant):
    """Build a model of Keras layers, in which each addition is a layer."""
    layers = keras.layers
    x = inputs = keras.Input((LENGTH, WIDTH))
    for _ in range(BLOCKS):
        h = layers.LayerNormalization(epsilon=1e-5)(x)
        h = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(h, h)
        x = layers.Add()([x, h])
        h = layers.LayerNormalization(epsilon=1e-5)(x)
        h = layers.Dense(WIDTH)(layers.Dense(HIDDEN, activation="relu")(h))
        x = layers.Add()([x, h])
    model = keras.Model(inputs, x)
    if variant == "baseline":
        return model
    sizes = {"rank": RANK} if "lr" in variant else {}
    if "pa" in variant:
        sizes["num_activations"] = ACTIVATIONS
    layer = keras_laurel.get(variant, **sizes)
    return keras_laurel.laurelize(model, layer, verbose=False)


class TorchModel(torch.nn.Module):
    """The same network of `torch.nn`."""

    def __init__(self, variant):
        super().__init__()
        nn = torch.nn
        self.norms = nn.ModuleList(
            nn.LayerNorm(WIDTH) for _ in range(2 * BLOCKS)
        )
        self.attentions = nn.ModuleList(Attention() for _ in range(BLOCKS))
        self.feeds = nn.ModuleList(
            nn.Sequential(
                nn.Linear(WIDTH, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, WIDTH)
            )
            for _ in range(BLOCKS)
        )
        self.connections = nn.ModuleList(
            Connection(variant, min(i + 1, ACTIVATIONS))
            for i in range(2 * BLOCKS)
        )

    def forward(self, x):
        history = []
        for i in range(2 * BLOCKS):
            part = (self.feeds if i % 2 else self.attentions)[i // 2]
            fx = part(self.norms[i](x))
            history = [x, *history][:ACTIVATIONS]
            x = self.connections[i](x, fx, history)
        return x


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inputs = torch.nn.Linear(WIDTH, 3 * WIDTH)
        self.outputs = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        shape = (*x.shape[:2], HEADS, WIDTH // HEADS)
        parts = self.inputs(x).chunk(3, dim=-1)
        q, k, v = [part.view(shape).transpose(1, 2) for part in parts]
        out = F.scaled_dot_product_attention(q, k, v)
        return self.outputs(out.transpose(1, 2).reshape(x.shape))


class Connection(torch.nn.Module):
    """Equations (2) to (6) as one would write them in PyTorch."""

    def __init__(self, variant, count):
        super().__init__()
        self.variant = variant
        if "rw" in variant:
            self.weights = torch.nn.Parameter(torch.zeros(2))
        pairs = count if "pa" in variant else 1
        if "lr" in variant:
            self.a = torch.nn.Parameter(torch.randn(pairs, WIDTH, RANK) / 16)
            self.b = torch.nn.Parameter(torch.zeros(pairs, RANK, WIDTH))
        if "pa" in variant:
            start = torch.ones if "lr" in variant else torch.zeros
            self.gamma = torch.nn.Parameter(start(count))

    def forward(self, x, fx, history):
        skip = x
        if "lr" in self.variant and "pa" in self.variant:
            for j, earlier in enumerate(history):
                skip = skip + self.gamma[j] * (earlier @ self.a[j] @ self.b[j])
        elif "lr" in self.variant:
            skip = skip + x @ self.a[0] @ self.b[0]
        elif "pa" in self.variant:
            for j, earlier in enumerate(history):
                skip = skip + self.gamma[j] * earlier
        if "rw" not in self.variant:
            return fx + skip
        alpha, beta = 2 * torch.softmax(self.weights, 0)
        return alpha * fx + beta * skip


def parse_arguments():
    options = parser(__doc__, rounds=20)
    options.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="where the steps run, on the CPU by default",
    )
    return options.parse_args()


if __name__ == "__main__":
    main()
