"""A GAN's own section of preset.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from keras_genzoo import presets
from keras_genzoo.parts import Count, Natural


class MonitorConfig(presets.Section):
    """Arguments of the `monitor.GANMonitor` that watches a training."""

    every: Count = 500  # training steps between two looks
    action: Literal["warn", "stop", "restore"] = "warn"
    patience: Count = 3
    grace: Natural = 3
    max_restores: Natural = 3
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5


class Section(presets.Section):
    """`gan: {monitor: {every: 500, action: stop}}`.

    With a monitor up to 256 images of the training split are held out, at most a tenth of it where it has 100 or more.
    """

    monitor: MonitorConfig | None = None
