"""Reading phrases: each once, many at a time, through a cache."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence

from promptseg.engine.batches import MOST_CONCEPTS
from promptseg.engine.cache import FeatureCache, FeatureKey
from promptseg.engine.encoder import Encoder
from promptseg.engine.portions import Portions
from promptseg.nn.outputs import Phrases
from promptseg.nn.protocol import Findable

# Of phrases that were read; one takes 8 KB (SAM 3: a phrase of eight tokens in float32).
PHRASE_BYTES = 32 * 2**20


class Reader:
    """Reads phrases with one network; any number of threads may use it at once.

    Many are read about as fast as one, as it is the weights that take the time.
    """

    def __init__(self, network: Findable, encoder: Encoder, *, cache_bytes: int) -> None:
        self.network = network
        self.runtime = encoder.runtime
        self.cache: FeatureCache[Phrases] = FeatureCache(cache_bytes, device=self.runtime.device)
        self._portions = Portions(MOST_CONCEPTS, what="reading phrases", release=encoder.release)

    def __call__(self, phrases: Sequence[str], *, owner: str = "") -> list[Phrases]:
        """Read phrases, or find the owner's in the cache; each has its tokens and no padding.

        Raises:
            WeightsError: the weights came without the files that take phrases apart.
            PromptError: a phrase is too long to be read whole.
            OutOfMemoryError: there is not enough memory for one phrase alone.
        """
        spec, runtime = self.network.spec, str(self.runtime)
        keys = [FeatureKey(phrase, spec.digest, runtime, owner) for phrase in phrases]

        @torch.inference_mode()
        def read(some: Sequence[str]) -> list[Phrases]:
            with self.runtime.own_numbers():
                together = self.network.read(some)
            # Each owns its memory, and has no more of it than its tokens need.
            return [
                Phrases(*(column[row, attended][None] for column in together))
                for row, attended in enumerate(together.attended)
            ]

        def read_all(places: Sequence[int]) -> list[Phrases]:
            return list(self._portions.run([phrases[place] for place in places], read))

        return self.cache.fetch(keys, read_all)


def padded(phrases: Sequence[Phrases]) -> Phrases:
    """Put phrases in one batch, padded to the longest of at least one."""
    columns = zip(*phrases, strict=True)
    return Phrases(
        *(pad_sequence([each[0] for each in column], batch_first=True) for column in columns)
    )
