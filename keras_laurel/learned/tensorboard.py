"""Scalars for TensorBoard, which TensorFlow writes."""

from keras_laurel.learned.connection import quantities


class ScalarWriter:
    """Writes each number of each connection to an event file in `folder`."""

    def __init__(self, folder):
        try:
            import tensorflow as tf
        except ImportError as error:
            raise ValueError(
                f"`tensorboard` got {str(folder)!r}, which needs TensorFlow to "
                "be written, on every backend. Install it by `pip install "
                "tensorflow`, or leave it out and read the CSV file of `path`."
            ) from error
        self._scalar = tf.summary.scalar
        self._writer = tf.summary.create_file_writer(str(folder))

    def append(self, rows):
        with self._writer.as_default():
            for row in rows:
                for name in quantities([row]):
                    tag = f"laurel_{name}/{row['layer']}"
                    self._scalar(tag, row[name], step=row["step"])
        self._writer.flush()
