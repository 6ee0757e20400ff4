"""How far a job is, as all answers and events describe it."""

from pydantic import BaseModel, Field

from sd_api.generation.engine import Phase


class ReportedProgress(BaseModel):
    """The progress of a job."""

    phase: Phase = Field(description="what is done now")
    step: int = Field(description="the steps of all its pictures that are done", examples=[5])
    steps: int = Field(description="the steps of all its pictures; 0 while unknown", examples=[20])
    bytes: int | None = Field(
        default=None, description="while downloading: the bytes that have arrived", examples=[1000000]
    )
    total_bytes: int | None = Field(
        default=None, description="while downloading: the bytes in all", examples=[5000000000]
    )
