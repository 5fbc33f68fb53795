"""Initial weights: small random numbers, of a size that keeps signals from growing or fading from layer to layer.

A weight's ``fan_in`` is the number of inputs that each output sums over, and ``fan_out`` the number of outputs that
each input reaches. Uniform draws lie within [-limit, limit]; normal ones beyond two standard deviations are redrawn
(and the deviation is corrected for that), as in Keras. RandomNormal alone keeps all.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tinynet.validation import are_finite_in, check_choice, check_int, check_number, refuse_keras_name, reject_arguments

Array = npt.NDArray[Any]

# Standard deviation of a standard normal variable restricted to [-2, 2].
_TRUNCATED_STDDEV = 0.87962566103423978


class Initializer:
    """Draws an array of a shape: ``initializer(shape, rng)`` returns float32 numbers.

    Args:
        seed: draw from a generator of this seed, the same numbers at each call, instead of from ``rng``.

    Example:
        >>> class Alternating(Initializer):
        ...     def draw(self, shape, rng):
        ...         return (-1.0) ** np.arange(np.prod(shape)).reshape(shape)
        >>> Alternating()((3,), np.random.default_rng(0))
        array([ 1., -1.,  1.], dtype=float32)
    """

    def __init__(self, seed: int | None = None, **unsupported: Any):
        reject_arguments(type(self).__name__, unsupported)
        self.seed = None if seed is None else check_int(type(self).__name__, "seed", seed, minimum=0)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Return a new float32 array of ``shape``, drawn from ``rng``.

        Raises:
            ValueError: what ``draw`` returns has another shape, or is not finite in float32.
            TypeError: it is no array of numbers.
        """
        rng, owner = rng if self.seed is None else np.random.default_rng(self.seed), type(self).__name__
        drawn = np.asarray(self.draw(shape, rng))
        if drawn.dtype.kind not in "biuf":
            raise TypeError(f"{owner}: draw must return an array of numbers, got dtype {drawn.dtype}.")
        if drawn.shape != tuple(shape):
            raise ValueError(f"{owner}: draw must return an array of shape {tuple(shape)}, got {drawn.shape}.")
        if not are_finite_in(np.float32, drawn):
            raise ValueError(f"{owner}: the numbers that draw returns must be finite in float32.")
        return drawn.astype(np.float32)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """The numbers, before rounding to float32."""
        raise NotImplementedError(f"{type(self).__name__} does not define draw(shape, rng).")


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a kernel (in, out) or (k_h, k_w, in, out); of a vector, its length twice.

    Example:
        >>> fans((5, 5, 20, 50))
        (500, 1250)
    """
    if len(shape) < 2:
        return shape[0], shape[0]
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


class _Uniform(Initializer):
    """Uniform in [-limit, limit], with a limit that depends on the fans."""

    def limit(self, fan_in: int, fan_out: int) -> float:
        raise NotImplementedError

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        limit = self.limit(*fans(shape))
        return rng.uniform(-limit, limit, shape)


class _Normal(Initializer):
    """Normal, cut off at two standard deviations, with a deviation that depends on the fans."""

    def stddev(self, fan_in: int, fan_out: int) -> float:
        raise NotImplementedError

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        z = rng.standard_normal(shape)
        while np.any(far := np.abs(z) > 2):
            z[far] = rng.standard_normal(int(far.sum()))
        return z * (self.stddev(*fans(shape)) / _TRUNCATED_STDDEV)


class GlorotUniform(_Uniform):
    """limit = sqrt(6 / (fan_in + fan_out)): for linear and sigmoid-like layers; Keras's default.

    Source: X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010,
    equation 16.

    Example:
        >>> bool(np.abs(GlorotUniform()((100, 50), np.random.default_rng(0))).max() <= np.sqrt(6 / 150))
        True
    """

    def limit(self, fan_in: int, fan_out: int) -> float:
        return math.sqrt(6 / (fan_in + fan_out))


class GlorotNormal(_Normal):
    """stddev = sqrt(2 / (fan_in + fan_out)); the source is that of GlorotUniform, equation 12.

    Example:
        >>> round(float(GlorotNormal()((400, 400), np.random.default_rng(0)).std()), 3)  # sqrt(2 / 800)
        0.05
    """

    def stddev(self, fan_in: int, fan_out: int) -> float:
        return math.sqrt(2 / (fan_in + fan_out))


class HeUniform(_Uniform):
    """limit = sqrt(6 / fan_in): for layers followed by ReLU, which halves the signal.

    Source: K. He, X. Zhang, S. Ren, J. Sun, "Delving Deep into Rectifiers", 2015, section 2.2.

    Example:
        >>> bool(np.abs(HeUniform()((100, 50), np.random.default_rng(0))).max() <= np.sqrt(6 / 100))
        True
    """

    def limit(self, fan_in: int, fan_out: int) -> float:
        return math.sqrt(6 / fan_in)


class HeNormal(_Normal):
    """stddev = sqrt(2 / fan_in); the source is that of HeUniform, equation 10.

    Example:
        >>> round(float(HeNormal()((800, 400), np.random.default_rng(0)).std()), 3)  # sqrt(2 / 800)
        0.05
    """

    def stddev(self, fan_in: int, fan_out: int) -> float:
        return math.sqrt(2 / fan_in)


class LecunUniform(_Uniform):
    """limit = sqrt(3 / fan_in): keeps the variance of the sums at one.

    Source: Y. LeCun, L. Bottou, G. Orr, K.-R. Müller, "Efficient BackProp", 1998, section 4.6.

    Example:
        >>> bool(np.abs(LecunUniform()((100, 50), np.random.default_rng(0))).max() <= np.sqrt(3 / 100))
        True
    """

    def limit(self, fan_in: int, fan_out: int) -> float:
        return math.sqrt(3 / fan_in)


class LecunNormal(_Normal):
    """stddev = sqrt(1 / fan_in); the source is that of LecunUniform.

    Example:
        >>> round(float(LecunNormal()((400, 400), np.random.default_rng(0)).std()), 3)  # sqrt(1 / 400)
        0.05
    """

    def stddev(self, fan_in: int, fan_out: int) -> float:
        return math.sqrt(1 / fan_in)


class RandomUniform(Initializer):
    """Uniform in [minval, maxval).

    Example:
        >>> w = RandomUniform(1.0, 2.0)((10,), np.random.default_rng(0))
        >>> bool(w.min() >= 1 and w.max() <= 2)
        True
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None, **unsupported: Any):
        super().__init__(seed, **unsupported)
        self.minval = check_number("RandomUniform", "minval", minval)
        self.maxval = check_number("RandomUniform", "maxval", maxval, low=self.minval)
        if not math.isfinite(self.maxval - self.minval):
            raise ValueError(f"RandomUniform: minval={minval:g} and maxval={maxval:g} are too far apart.")

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return rng.uniform(self.minval, self.maxval, shape)


class RandomNormal(Initializer):
    """Normal with the given mean and standard deviation, not cut off.

    Example:
        >>> float(RandomNormal(mean=5.0, stddev=0.1)((1000,), np.random.default_rng(0)).mean().round(1))
        5.0
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None, **unsupported: Any):
        super().__init__(seed, **unsupported)
        self.mean = check_number("RandomNormal", "mean", mean)
        self.stddev = check_number("RandomNormal", "stddev", stddev, low=0)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return rng.normal(self.mean, self.stddev, shape)


class Constant(Initializer):
    """The same number everywhere.

    Example:
        >>> Constant(0.5)((2,), np.random.default_rng(0))
        array([0.5, 0.5], dtype=float32)
    """

    def __init__(self, value: float = 0.0, **unsupported: Any):
        reject_arguments(type(self).__name__, unsupported)
        super().__init__()
        self.value = check_number(type(self).__name__, "value", value)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return np.full(shape, self.value)


class Zeros(Constant):
    """Zeros: for biases. (Kernels of zeros would all learn the same.)

    Example:
        >>> Zeros()((2,), np.random.default_rng(0))
        array([0., 0.], dtype=float32)
    """

    def __init__(self) -> None:
        super().__init__(0.0)


class Ones(Constant):
    """Ones.

    Example:
        >>> Ones()((2,), np.random.default_rng(0))
        array([1., 1.], dtype=float32)
    """

    def __init__(self) -> None:
        super().__init__(1.0)


INITIALIZERS: dict[str, type[Initializer]] = {
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "lecun_uniform": LecunUniform,
    "lecun_normal": LecunNormal,
    "random_uniform": RandomUniform,
    "random_normal": RandomNormal,
    "zeros": Zeros,
    "ones": Ones,
}
# Keras's other names for some of them, and for each class.
_ALSO: dict[str, type[Initializer]] = {"uniform": RandomUniform, "normal": RandomNormal, "zero": Zeros, "one": Ones}
glorot_uniform, glorot_normal, he_uniform, he_normal = GlorotUniform, GlorotNormal, HeUniform, HeNormal
lecun_uniform, lecun_normal = LecunUniform, LecunNormal
random_uniform, random_normal, constant, zeros, ones = RandomUniform, RandomNormal, Constant, Zeros, Ones


def get_initializer(owner: str, argument: str, value: str | Initializer | type[Initializer]) -> Initializer:
    """The initializer for a name, a class or an instance.

    Raises:
        ValueError: the name is not known; it lists those that are.
        TypeError: the value is none of these.

    Example:
        >>> type(get_initializer("Dense", "kernel_initializer", "he_normal")).__name__
        'HeNormal'
    """
    if isinstance(value, Initializer):
        return value
    if isinstance(value, type) and issubclass(value, Initializer):
        return value()
    if not isinstance(value, str):
        raise TypeError(f"{owner}: {argument} must be a name or an Initializer, got {value!r}.")
    by_class_name = {kind.__name__: kind for kind in INITIALIZERS.values()}
    known = INITIALIZERS | _ALSO | by_class_name
    if value not in known:
        check_choice(owner, argument, value, INITIALIZERS)
    return known[value]()


__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "RandomNormal",
    "RandomUniform",
    "Zeros",
]


def __getattr__(name: str) -> Any:
    refuse_keras_name(__name__, name, __all__, hints={"TruncatedNormal": "HeNormal and others truncate, too."})
