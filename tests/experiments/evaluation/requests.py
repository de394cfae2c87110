"""Requests in the form in which the harness makes them."""

from lm_eval.api.instance import Instance


def instances(kind, *arguments):
    """One request for each tuple of arguments."""
    return [
        Instance(request_type=kind, doc={}, arguments=x, idx=i)
        for i, x in enumerate(arguments)
    ]


def scores(lm, *pairs):
    """Return the model's scores of pairs of context and continuation."""
    return lm.loglikelihood(
        instances("loglikelihood", *pairs), disable_tqdm=True
    )


def rolling_scores(lm, *texts):
    requests = instances("loglikelihood_rolling", *((x,) for x in texts))
    return lm.loglikelihood_rolling(requests, disable_tqdm=True)


def texts(lm, *pairs):
    """Return the model's texts for pairs of prompt and arguments."""
    return lm.generate_until(
        instances("generate_until", *pairs), disable_tqdm=True
    )
