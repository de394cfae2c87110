"""Replace functions for a while, to observe their calls."""

import contextlib
import functools
import threading

# With two threads at once, each would restore the other's replacements. The
# lock is reentrant, since one thread may nest them.
_lock = threading.RLock()


@contextlib.contextmanager
def replaced(replacements):
    """Replace functions on this thread; other threads run the originals.

    Args:
        replacements: List of `(owner, name, make)`. `make` takes the function
            at the attribute `name` of `owner`, a module or a class, and
            returns the function that replaces it.
    """
    with _lock, contextlib.ExitStack() as restoring:
        for owner, name, make in replacements:
            original = getattr(owner, name)
            if name in vars(owner):
                restoring.callback(setattr, owner, name, original)
            else:
                # The owner has inherited it, and gets no attribute of its own.
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
