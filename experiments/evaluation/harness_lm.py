"""The adapter between the harness and KerasHub's language models."""

import itertools

import keras
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import Collator
from lm_eval.models.utils import postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows
from lm_eval.utils import make_disjoint_window
from tqdm import tqdm

from experiments.evaluation import checks
from experiments.evaluation.padding import filled_up
from experiments.evaluation.token_generator import generate
from experiments.evaluation.token_generator import read_settings
from experiments.evaluation.token_generator import sampling_with
from experiments.evaluation.token_scorer import TokenScorer
from experiments.evaluation.token_scorer import score
from keras_laurel.checks import check_integer
from keras_laurel.conversion import laurel_layers


class HarnessLM(TemplateLM):
    """A KerasHub CausalLM as a model of lm-evaluation-harness.

    Takes any `keras_hub.models.CausalLM` with a preprocessor that reads tokens
    and nothing else, plain or converted by `keras_laurel.laurelize`, on JAX,
    TensorFlow and PyTorch.

    Contexts that are too long are cut on the left. An empty context or prompt
    is the start token, or the end token where a tokenizer has no start token.

    Args:
        causal_lm: The model.
        batch_size: Rows of tokens that go through the model together. Every
            batch is filled up to it. Under `keras.distribution` it has to be
            a multiple of the devices along the batch axis.
        max_length: Tokens of context and continuation, or of prompt and
            generated text, at most; `None` for `sequence_length` of the
            model's preprocessor.
        max_gen_toks: Tokens to generate where a task does not say.
        add_bos_token: Whether texts begin with the start token; `None` for
            `add_start_token` of the model's preprocessor.

    Raises:
        ValueError: If the model has no preprocessor, needs more than tokens,
            or has no positions for `max_length`; for a number below 1.

    Example:

    >>> import lm_eval
    >>> from experiments.evaluation import HarnessLM
    >>> model = HarnessLM(causal_lm, batch_size=16)
    >>> results = lm_eval.simple_evaluate(model=model, tasks=tasks)
    """

    def __init__(
        self,
        causal_lm,
        batch_size=8,
        max_length=None,
        max_gen_toks=256,
        add_bos_token=None,
    ):
        super().__init__()
        checks.check_causal_lm(causal_lm)
        preprocessor = causal_lm.preprocessor
        if max_length is None:
            max_length = preprocessor.sequence_length
        if add_bos_token is None:
            add_bos_token = preprocessor.add_start_token
        batch_size = check_integer("batch_size", batch_size, 1)
        max_length = check_integer("max_length", max_length, 1)
        max_gen_toks = check_integer("max_gen_toks", max_gen_toks, 1)
        checks.check_length(causal_lm, max_length)
        self.causal_lm = causal_lm
        self.tokenizer = preprocessor.tokenizer
        self.batch_size = batch_size
        self.max_length = max_length
        self.max_gen_toks = max_gen_toks
        self.add_bos_token = add_bos_token
        self._scorer = TokenScorer(causal_lm)

    @property
    def eot_token_id(self):
        return self.tokenizer.end_token_id

    @property
    def prefix_token_id(self):
        start = self.tokenizer.start_token_id
        return self.eot_token_id if start is None else start

    @property
    def tokenizer_name(self):
        return self.tokenizer.name

    def get_model_info(self):
        """Return the facts about the model that the harness stores."""
        return {
            "model_class": type(self.causal_lm).__name__,
            "model_num_parameters": self.causal_lm.count_params(),
            "laurel_layers": len(laurel_layers(self.causal_lm)),
            "dtype": self.causal_lm.dtype_policy.name,
            "backend": keras.backend.backend(),
            "keras": keras.__version__,
            "max_length": self.max_length,
            "max_gen_toks": self.max_gen_toks,
            "add_bos_token": self.add_bos_token,
        }

    def tok_encode(self, string, add_special_tokens=None, **kwargs):
        """The tokens of a text, behind one start token if they get any."""
        tokens = [int(x) for x in self.tokenizer.tokenize([string])[0]]
        start = self.tokenizer.start_token_id
        if add_special_tokens is None:
            add_special_tokens = self.add_bos_token and tokens[:1] != [start]
        if add_special_tokens and start is not None:
            return [start, *tokens]
        return tokens

    def tok_decode(self, tokens):
        """The text of tokens, special ones left out."""
        special = self.tokenizer.special_token_ids
        tokens = [token for token in tokens if token not in special]
        return self.tokenizer.detokenize([tokens])[0]

    def _encode_pair(self, context, continuation):
        """Return the tokens of both texts, with at least one of the context.

        The harness lets spaces between them begin the continuation.
        """
        if context.strip():
            return super()._encode_pair(context, continuation)
        prefix = [self.prefix_token_id]
        tokens = self.tok_encode(context + continuation, False)
        if tokens[:1] == prefix:
            tokens = tokens[1:]
        return prefix, tokens

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        """Log-likelihoods of whole texts, each token scored once.

        Behind the start token, which is not scored: unlike the harness' own
        models these do not score a second one that the tokenizer adds.
        """
        windows, owners = [], []
        for i, request in enumerate(requests):
            found = self._windows(*request.args)
            windows += [(None, *window) for window in found]
            owners += [i] * len(found)
        totals = [0.0] * len(requests)
        scores = self._loglikelihood_tokens(windows, disable_tqdm)
        for i, (log_probability, _) in zip(owners, scores):
            totals[i] += log_probability
        for request, total in zip(requests, totals):
            self.cache_hook.add_partial(
                "loglikelihood_rolling", request.args, total
            )
        return totals

    def _windows(self, text):
        """Pairs of a context and the tokens behind it that are scored."""
        tokens = self.tok_encode(text, add_special_tokens=False)
        windows = get_rolling_token_windows(
            tokens, self.prefix_token_id, self.max_length, context_len=1
        )
        return [make_disjoint_window(window) for window in windows]

    def _loglikelihood_tokens(self, requests, disable_tqdm=False):
        pairs = [(context, following) for _, context, following in requests]
        checks.check_continuations(requests, self.max_length)
        results = [None] * len(requests)
        scores = score(
            self._scorer,
            pairs,
            self.batch_size,
            self.max_length,
            progress=not disable_tqdm,
        )
        for i, log_probability, is_greedy in scores:
            results[i] = log_probability, is_greedy
            # The windows of a text have no strings, and are no requests.
            if requests[i][0] is not None:
                self.cache_hook.add_partial(
                    "loglikelihood", requests[i][0], results[i]
                )
        return results

    def generate_until(self, requests, disable_tqdm=False):
        """Texts that follow the prompts, up to where each is to end.

        Sampled texts depend on the seed of Python's `random`, which the
        harness sets.
        """
        checks.check_generates(self.causal_lm)
        pairs = [request.args for request in requests]
        for pair in pairs:
            # What is wrong with one is said before any text is generated.
            self._settings_of([pair])
        # Batches of equal arguments, the longest prompts first.
        queue = Collator(pairs, lambda x: -len(x[0]), group_by="gen_kwargs")
        batches = queue.get_batched(self.batch_size)
        texts = []
        with tqdm(
            total=len(pairs), desc="Generating", disable=disable_tqdm
        ) as bar:
            for settings, several in itertools.groupby(
                batches, self._settings_of
            ):
                sampler = settings.sampler(self.tokenizer.vocabulary_size())
                with sampling_with(self.causal_lm, sampler):
                    for batch in several:
                        found = self._generate(batch, settings)
                        for x, text in zip(batch, found):
                            self.cache_hook.add_partial(
                                "generate_until", x, text
                            )
                        texts += found
                        bar.update(len(batch))
        return queue.get_original(texts)

    def _settings_of(self, batch):
        return read_settings(batch[0][1], self.max_gen_toks, self.max_length)

    def _generate(self, batch, settings):
        """The texts of one batch."""
        room = self.max_length - settings.max_tokens
        prompts = [
            self.tok_encode(text)[-room:] or [self.prefix_token_id]
            for text, _ in batch
        ]
        rows = generate(
            self.causal_lm,
            filled_up(prompts, self.batch_size),
            settings.max_tokens,
            self._stop_ids(settings.until),
            self.max_length,
        )
        return [
            postprocess_generated_text(
                self.tok_decode(row), list(settings.until), None
            )
            for row in rows[: len(prompts)]
        ]

    def _stop_ids(self, until):
        """The end tokens, and the texts that are one token.

        The others end a text after it was generated: KerasHub stops at single
        tokens only.
        """
        stop_ids = [self.eot_token_id]
        # Llama 3 has two, of which instruction-tuned models use the second.
        if hasattr(self.tokenizer, "end_token2_id"):
            stop_ids.append(self.tokenizer.end_token2_id)
        for text in until:
            tokens = self.tok_encode(text, add_special_tokens=False)
            # A token may also stand for what is in no vocabulary.
            is_text = self.tokenizer.detokenize([tokens])[0] == text
            if len(tokens) == 1 and is_text:
                stop_ids += tokens
        return tuple(stop_ids)
