"""The server that tutorials write: one predictor behind a lock, base64 in, PNG files out.

It is what ours is measured beside. Its network answers by way of our engine, so that only the
service differs: every request decodes its image, has it looked at, and gets every candidate as a
PNG of the image's size, all of it in the one thread that also reads from connections.
"""

from __future__ import annotations

import base64
import threading
import time
from io import BytesIO

import numpy as np
from fastapi import FastAPI
from PIL import Image
from pydantic import BaseModel

from promptseg.engine.cache import FeatureCache
from promptseg.engine.digest import Name
from promptseg.engine.encoder import EncodedImage
from promptseg.engine.runtime import Runtime
from promptseg.engine.segmenter import Segmenter
from promptseg.nn.protocol import Promptable
from promptseg.options import SegmentOptions
from promptseg.prompts import Points, Prompt
from promptseg.results import Masks
from promptseg.shapes import ImageArray

ALL = SegmentOptions(all_candidates=True)
# Nothing is kept, so no image has to be told from another.
NAMELESS = Name("")


class Question(BaseModel):
    """An image file in base64, and points of one object."""

    image_base64: str
    points: list[list[float]]


class Answer(BaseModel):
    """PNG files in base64, best first."""

    masks_base64: list[str]
    scores: list[float]
    num_masks: int
    inference_time_ms: float


class Predictor:
    """Answers points on the image set last; what it saw in others is forgotten."""

    def __init__(self, network: Promptable, runtime: Runtime) -> None:
        self._segmenter = Segmenter(network, runtime, FeatureCache(0))
        self._seen: EncodedImage | None = None

    def set_image(self, image: ImageArray) -> None:
        """Look at an image."""
        [self._seen] = self._segmenter.encoder.encode([image], [NAMELESS])

    def predict(self, points: list[list[float]]) -> Masks:
        """Return every candidate for an object with these points."""
        assert self._seen is not None
        prompt = Prompt(points=Points([(x, y) for x, y in points]))
        return self._segmenter.answer(self._seen, [prompt], ALL)


def make_app(network: Promptable, runtime: Runtime) -> FastAPI:
    """Make the application round one predictor."""
    app = FastAPI()
    predictor, lock = Predictor(network, runtime), threading.Lock()

    @app.get("/health/ready")
    async def ready() -> dict[str, str]:
        return {"status": "healthy"}

    @app.post("/segment")
    async def segment(question: Question) -> Answer:
        began = time.perf_counter()
        file = BytesIO(base64.b64decode(question.image_base64))
        image = np.asarray(Image.open(file).convert("RGB"))
        with lock:
            predictor.set_image(image)
            masks = predictor.predict(question.points)
        pictures = [_png(mask) for mask in masks.to_numpy()]
        return Answer(
            masks_base64=pictures,
            scores=masks.scores.tolist(),
            num_masks=len(pictures),
            inference_time_ms=1000 * (time.perf_counter() - began),
        )

    return app


def _png(mask: np.ndarray) -> str:
    file = BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()
