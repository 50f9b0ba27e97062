"""What the service has loaded, and what that can do: `/v1/models`."""

from __future__ import annotations

from typing import get_args

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

import promptseg
from promptseg.api import Model
from promptseg.server.access import Known
from promptseg.server.problems import documented
from promptseg.server.schemas import Format

router = APIRouter(prefix="/v1", tags=["service"])


class ModelBody(BaseModel):
    """One model, and how it runs."""

    name: str = Field(description="By which it was loaded.")
    verbs: list[str] = Field(description="What it can be asked: segment, find, everything.")
    image_side: int = Field(description="Pixels of the square in which it sees an image.")
    device: str = Field(description="Where it runs.")
    dtype: str = Field(description="The numbers that it runs in.")


class ModelsBody(BaseModel):
    """All that the service has loaded."""

    models: list[ModelBody]
    formats: list[str] = Field(description="What masks can be given as.")
    version: str = Field(description="Of the service.")


@router.get("/models", responses=documented(401, 429))
async def models(http: Request, caller: Known) -> ModelsBody:
    """What is loaded here, and what can it do?"""
    return ModelsBody(
        models=[described(http.app.state.service.model)],
        formats=list(get_args(Format)),
        version=promptseg.__version__,
    )


def described(model: Model) -> ModelBody:
    """Describe a model to a caller."""
    return ModelBody(
        name=model.name,
        verbs=list(model.verbs),
        image_side=model.spec.image_side,
        device=str(model.runtime.device),
        dtype=str(model.runtime.dtype).removeprefix("torch."),
    )
