"""Pickle for models of classes that are made at conversion."""

import keras


class PickledAsSaved:
    """Lets pickle find the model by what it is saved as.

    Keras pickles a model as a saved file and the class that reads it; pickle
    looks for a class in its module, where one that is made at conversion is
    not. Any class of model reads the file.
    """

    def __reduce__(self):
        _, saved = super().__reduce__()
        return keras.Model._unpickle_model, saved
