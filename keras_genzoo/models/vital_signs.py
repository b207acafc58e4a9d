"""A callback that notices a training that has died: outputs that no longer depend on the inputs, or learn nothing.

A dead network is no error to the optimizer. Its loss is finite and moves a little with every batch, and without a look
at its outputs the training ends as a success.
"""

from typing import Any, NamedTuple

import keras
import numpy as np

from keras_genzoo.errors import ZooError
from keras_genzoo.typing import ArrayLike

PATIENCE = 5  # epochs with a bad sign after which a training stops
N_WATCHED = 32  # images of a look, which costs a pass of the networks
_LEAST_SPREAD = 1e-4  # share of the outputs' size by which they differ between inputs in a live network
_NO_BETTER = 0.999  # share of the trivial answer's error
_MOVED = 0.995  # share of the least error so far, below which a reconstruction has come nearer
_LEAST_STEPS = 100  # training steps that bad signs must last
_LEAST_CORRELATION = 0.05  # of reconstructions with their images; those that know nothing are at 0, give or take
CURE = "train again from another seed, with a lower learning rate, or with larger batches"


class VitalSigns(keras.callbacks.Callback):
    """Looks once an epoch whether a model's outputs still depend on its inputs.

    A model `vital_outputs` from a few inputs: reconstructions, samples, logits. Two signs are bad:

    - outputs that are the same for all inputs, to a ten-thousandth of their size: codes carry nothing, or a layer is
      saturated;
    - reconstructions that know nothing of their images, are no nearer to them than the mean image, the trivial answer,
      and come no nearer.

    Args:
        images: Training images, `(>= 2, H, W, C)` in [0, 1]; the first 32 are looked at.
        labels: Their labels, for a conditional model; None: none.
        patience: Number of epochs in a row with a bad sign, >= 1, after which the training stops; the second sign must
            last 100 training steps, too. None: it goes on.

    Attributes:
        trouble: Name of the sign that lasts; None: the model lives.
        streak: Number of epochs in a row that show it.
        has_stopped: Whether the training was stopped for it.

    Raises:
        ZooError: Fewer than two images, or `patience` below 1.

    Example:
        >>> import keras_genzoo as gz
        >>> model = gz.load("ae2d_mnist")
        >>> images = gz.data.to_unit(gz.data.arrays("mnist", "train")[0][:256])
        >>> signs = gz.VitalSigns(images)
        >>> history = model.fit(images, callbacks=[signs], verbose=0)
        >>> print(signs.trouble)
        None
    """

    def __init__(self, images: ArrayLike, labels: ArrayLike | None = None, *, patience: int | None = PATIENCE):
        super().__init__()
        images, labels = np.asarray(images), None if labels is None else np.asarray(labels)
        if len(images) < 2:
            raise ZooError(f"`images` must hold at least 2 images. Received: {len(images)}")
        if patience is not None and patience < 1:
            raise ZooError(f"`patience` must be >= 1, or None. Received: {patience}")
        self.images = images[:N_WATCHED].astype("float32", copy=False)
        self.labels = None if labels is None else labels[:N_WATCHED]
        self.patience = patience
        self.trouble: str | None = None
        self.streak, self.has_stopped = 0, False
        self._is_the_same = False  # whether the trouble is outputs that do not depend on the inputs
        self._since = 0  # step of the last look without a bad sign
        self._least: dict[str, float] = {}  # least error so far of each kind of reconstruction

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.trouble = self._bad_sign()
        steps = int(self.model.train_steps.numpy())
        if self.trouble is None:
            self.streak, self._since = 0, steps
            return
        self.streak += 1
        # What is the same for all inputs stays so; what is no better than the mean image may only be slow.
        is_sure = self._is_the_same or steps - self._since >= _LEAST_STEPS
        if self.patience is not None and self.streak >= self.patience and is_sure:
            self.has_stopped = self.model.stop_training = True

    def _bad_sign(self):
        for name, look in looks(self.model, self.images, self.labels).items():
            self._is_the_same = not look.differs
            if self._is_the_same:
                return f"its outputs do not depend on its inputs ({name})"
            least, self._least[name] = self._least.get(name, np.inf), min(self._least.get(name, np.inf), look.error)
            if look.knows_nothing and look.error > _MOVED * least:
                return f"its reconstructions are no better than the mean image ({name})"
        return None


class Look(NamedTuple):
    """A look at some outputs of a model.

    Attributes:
        differs: Whether the outputs depend on the inputs.
        knows_nothing: Whether they are reconstructions no better than the mean image, and unrelated to their images.
        error: Mean squared error of reconstructions; 0 where the outputs are none.
    """

    differs: bool
    knows_nothing: bool = False
    error: float = 0.0


def looks(model: Any, images: np.ndarray, labels: np.ndarray | None = None) -> dict[str, Look]:
    """A look at each of a model's `vital_outputs`.

    Args:
        model: A `ZooModel`.
        images: Images, `(n, H, W, C)` in [0, 1], n >= 2.
        labels: Their labels, for a conditional model.

    Returns:
        Looks by the name of the outputs; of reconstructions of equal images, of which nothing can be told, none.
    """
    found, are_equal = {}, not np.ptp(images, axis=0).any()
    for name, (outputs, targets) in model.vital_outputs(images, labels).items():
        if are_equal and targets is not None:
            continue
        outputs = np.asarray(outputs, "float64")
        spread, size = np.sqrt(outputs.var(axis=0).mean()), np.sqrt(np.square(outputs).mean())
        look = Look(differs=bool(spread > _LEAST_SPREAD * size))
        if targets is not None:
            error, trivial = np.square(outputs - targets).mean(), np.var(targets, axis=0, dtype="float64").mean()
            a, b = outputs - outputs.mean(axis=0), targets - targets.mean(axis=0)
            related = (a * b).sum() > _LEAST_CORRELATION * np.sqrt(np.square(a).sum() * np.square(b).sum())
            look = look._replace(knows_nothing=bool(error >= _NO_BETTER * trivial and not related), error=float(error))
        found[name] = look
    return found
