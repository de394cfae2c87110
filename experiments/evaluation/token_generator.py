"""Text that a KerasHub CausalLM generates, from tokens to tokens."""

import contextlib
import dataclasses
import itertools

import keras
from lm_eval.models.utils import normalize_gen_kwargs

from experiments.evaluation.padding import distributed
from experiments.evaluation.padding import padded_length
from experiments.evaluation.padding import padded_rows


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of a request for generated text.

    Args:
        until: Texts that end it; they are not part of it.
        max_tokens: How long it may get.
        temperature: 0 for greedy decoding.
        top_p: Probability of the tokens to sample from, or `None` for all.
        top_k: Number of the tokens to sample from, or `None` for all.
    """

    until: tuple
    max_tokens: int
    temperature: float
    top_p: float | None
    top_k: int | None

    def sampler(self, vocabulary_size):
        from keras_hub import samplers

        if self.temperature == 0:
            return samplers.GreedySampler()
        options = {"temperature": self.temperature}
        k = self.top_k and min(self.top_k, vocabulary_size)
        if self.top_p is not None:
            return samplers.TopPSampler(p=self.top_p, k=k, **options)
        if k is not None:
            return samplers.TopKSampler(k=k, **options)
        return samplers.RandomSampler(**options)


def read_settings(arguments, default_max_tokens, max_length):
    """The settings in the generation arguments of a task.

    Raises:
        ValueError: If one is not supported, or leaves no room for a prompt.
    """
    found = dict(normalize_gen_kwargs(arguments, default_max_tokens))
    # One beam is no beam search, as tasks written for it say.
    if found.get("num_beams") == 1:
        del found["num_beams"]
    samples, temperature = found.pop("do_sample"), found.pop("temperature", 0)
    settings = Settings(
        tuple(filter(None, found.pop("until"))),
        found.pop("max_gen_toks"),
        float(temperature) if samples else 0.0,
        found.pop("top_p", None),
        # Transformers has 0 for all tokens, vLLM -1.
        max(found.pop("top_k", None) or 0, 0) or None,
    )
    if found:
        raise ValueError(
            "The generation arguments must be among `until`, `max_gen_toks`, "
            "`do_sample`, `temperature`, `top_p` and `top_k`. Received: "
            f"{found}. Change `generation_kwargs` of the task."
        )
    if not 1 <= settings.max_tokens < max_length:
        raise ValueError(
            f"A request must be for 1 to {max_length - 1} generated tokens, "
            f"fewer than `max_length`, {max_length}. Received: a request for "
            f"{settings.max_tokens} generated tokens. Pass a larger "
            "`max_length`, or a smaller `max_gen_toks`."
        )
    return settings


@contextlib.contextmanager
def sampling_with(causal_lm, sampler):
    """The model with another sampler.

    Its `compile` would take the sampler too, and replace the optimizer.
    """
    # A model that was never compiled has neither.
    names = ("sampler", "generate_function")
    kept = [getattr(causal_lm, name, None) for name in names]
    causal_lm.sampler, causal_lm.generate_function = sampler, None
    try:
        yield
    finally:
        causal_lm.sampler, causal_lm.generate_function = kept


def generate(causal_lm, prompts, max_tokens, stop_ids, max_length):
    """The tokens that follow each prompt, without the one that ended them.

    Args:
        causal_lm: A CausalLM inside `sampling_with`.
        prompts: Lists of tokens; `max_tokens` fit behind each.
        max_tokens: How many tokens to generate at most.
        stop_ids: Tokens that end the text.
        max_length: Of a prompt and its text together.
    """
    longest = max(map(len, prompts))
    length = padded_length(longest + max_tokens, max_length)
    # KerasHub takes stop tokens for generated ones also where there are none.
    fill = next(i for i in itertools.count() if i not in stop_ids)
    x = distributed(padded_rows(prompts, length, fill))
    # Not `generate`: Gemma 3's takes no tokens without images.
    outputs = causal_lm.make_generate_function()(x, stop_token_ids=stop_ids)
    rows = keras.ops.convert_to_numpy(outputs["token_ids"])
    return [
        before_any(row[len(prompt) :][:max_tokens].tolist(), stop_ids)
        for row, prompt in zip(rows, prompts)
    ]


def before_any(tokens, stop_ids):
    stops = (i for i, token in enumerate(tokens) if token in stop_ids)
    return tokens[: next(stops, len(tokens))]
