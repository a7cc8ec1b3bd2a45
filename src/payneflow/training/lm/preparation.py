"""What a trainer draws from the whole grid's training set before any pixel is trained, once per grid.

It is made when the grid is split and stored with every chunk, so that a pixel's network depends on it and on its own
flux, never on which other pixels lie in its chunk. The test set is never seen here.
"""

from dataclasses import dataclass, field

from payneflow.training.lm.floor import Floor
from payneflow.training.lm.templates import Templates
from payneflow.training.lm.virtual_spectra import VirtualSpectra


@dataclass(frozen=True, eq=False)
class Preparation:
    """Virtual spectra in the gaps between the training spectra, templates to start from, and the floor.

    All are empty for a trainer that uses none. `note`: what was done, in a sentence.
    """

    virtual: VirtualSpectra
    templates: Templates
    note: str
    floor: Floor = field(default_factory=Floor)

    @classmethod
    def nothing(cls, n_training: int, n_label: int) -> "Preparation":
        """For a trainer that needs no more than the training spectra."""
        return cls(
            VirtualSpectra.none(n_training, n_label, "none"),
            Templates.none(n_label),
            "nothing to prepare",
            Floor(n_label=n_label),
        )
