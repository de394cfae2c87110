"""Watch functions for a while by putting others in their place."""

import contextlib
import functools
import threading

# Two threads would else put each other's replacements back. One may nest.
_lock = threading.RLock()


@contextlib.contextmanager
def replaced(replacements):
    """Replace functions for this thread; others go on with the originals.

    Args:
        replacements: List of `(owner, name, make)`. `make` takes the function
            at the attribute `name` of `owner`, a module or a class, and
            returns what is to run instead.
    """
    with _lock, contextlib.ExitStack() as restoring:
        for owner, name, make in replacements:
            original = getattr(owner, name)
            if name in vars(owner):
                restoring.callback(setattr, owner, name, original)
            else:
                restoring.callback(delattr, owner, name)
            setattr(owner, name, _for_this_thread(original, make(original)))
        yield


def _for_this_thread(original, replacement):
    thread = threading.get_ident()

    @functools.wraps(original)
    def either(*args, **kwargs):
        here = threading.get_ident() == thread
        return (replacement if here else original)(*args, **kwargs)

    return either
