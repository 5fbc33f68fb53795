"""A callback from functions."""

from __future__ import annotations

from collections.abc import Callable

from tinynet.callbacks.callback import Callback

_HOOKS = sorted(name for name in vars(Callback) if name.startswith("on_"))


class LambdaCallback(Callback):
    """A callback whose methods are the functions given by name; their arguments are those of ``Callback``'s methods.

    Raises:
        TypeError: a name is none of ``Callback``'s methods, or what is given is no function.

    Example:
        >>> import numpy as np
        >>> from tinynet import Sequential, layers
        >>> model = Sequential([layers.Input((2,)), layers.Dense(2, activation="softmax")], seed=0)
        >>> model.compile("sgd", "sparse_categorical_crossentropy")
        >>> tell = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, list(logs)))
        >>> history = model.fit(np.eye(2), [0, 1], epochs=2, verbose=0, callbacks=[tell])
        0 ['loss']
        1 ['loss']
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., object] | None = None,
        on_epoch_end: Callable[..., object] | None = None,
        on_train_begin: Callable[..., object] | None = None,
        on_train_end: Callable[..., object] | None = None,
        on_train_batch_begin: Callable[..., object] | None = None,
        on_train_batch_end: Callable[..., object] | None = None,
        **others: Callable[..., object],
    ):
        functions = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **others,
        }
        for name, function in functions.items():
            if name not in _HOOKS:
                raise TypeError(f"LambdaCallback has no argument {name!r}; it has {', '.join(_HOOKS)}.")
            if function is None:
                continue
            if not callable(function):
                raise TypeError(f"LambdaCallback: {name} must be a function, got {function!r}.")
            setattr(self, name, function)
