"""Write scalars for TensorBoard by TensorFlow."""

from keras_laurel.learned.connection import quantities


class ScalarWriter:
    """Writer of each connection's numbers to an event file in a folder."""

    def __init__(self, folder):
        try:
            import tensorflow as tf
        except ImportError as error:
            raise ValueError(
                "Argument `tensorboard` must be None without TensorFlow. "
                f"Received: {str(folder)!r}, which needs TensorFlow to be "
                "written, on every backend. Install it with `pip install "
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
