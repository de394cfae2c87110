"""Summaries, logs and plots of the weights that connections learn."""

from keras_laurel.learned import plots as plots
from keras_laurel.learned.connection import (
    ConnectionSummary as ConnectionSummary,
)
from keras_laurel.learned.logger import LaurelLogger as LaurelLogger
from keras_laurel.learned.summary import LaurelSummary as LaurelSummary
from keras_laurel.learned.summary import laurel_summary as laurel_summary
