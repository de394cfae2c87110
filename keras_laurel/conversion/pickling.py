"""Pickling of models whose class is made at conversion."""

import keras


class PickledAsSaved:
    """Mixin that pickles a model as a saved file.

    Keras pickles a model as a saved file and the class that reads it. Pickle
    looks the class up in its module, where a class made at conversion is
    missing. `keras.Model` can read the file of any model, so it is pickled
    instead.
    """

    def __reduce__(self):
        _, saved = super().__reduce__()
        return keras.Model._unpickle_model, saved
