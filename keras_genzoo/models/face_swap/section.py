"""A face swap's own section of preset.yaml."""

from keras_genzoo import presets
from keras_genzoo.parts import Natural


class Section(presets.Section):
    """`face_swap: {other: folder:faces_b, unwarped_epochs: 30}`."""

    other: str  # data set of the second person's images; `data.name` is that of the first person's
    unwarped_epochs: Natural = 0  # number of last epochs that do not warp, see `warped_steps` of the model

    def in_words(self) -> list[str]:
        """Remarks on the number of epochs, for a card."""
        return [f"the last {self.unwarped_epochs} of them unwarped"] if self.unwarped_epochs else []
