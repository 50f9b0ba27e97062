"""A job as it is typed: inputs and flags, over what a file of the job says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from glob import escape, has_magic
from pathlib import Path
from typing import Any

from promptseg.errors import JobError, reason
from promptseg.jobs.addresses import local_path, protocol_of
from promptseg.jobs.job import HINT, Job


def job_of(
    inputs: Sequence[str], queries: Sequence[Mapping[str, Any]], said: Mapping[str, Any]
) -> Job:
    """Make a job of what was typed, where paths begin at the current folder.

    Raises:
        JobError: there are no inputs, or a value is of the wrong kind or out of range.
    """
    return _placed(Job(inputs=tuple(inputs), queries=tuple(queries), **said), Path())


def job_of_file(
    file: Path, inputs: Sequence[str], queries: Sequence[Mapping[str, Any]], said: Mapping[str, Any]
) -> Job:
    """Make a job of a file of JSON, where paths begin at the file's folder; what was typed counts.

    Raises:
        JobError: the file cannot be read or is no job, or as for `job_of`.
    """
    try:
        written = json.loads(file.read_bytes())
    except OSError as error:
        raise JobError(f"cannot read `{file}`: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise JobError(f"`{file}` is no JSON: {reason(error)}", hint=HINT) from None
    if inputs and isinstance(written, dict):
        written = {**written, "inputs": [_absolute(each, Path()) for each in inputs]}
    job = _placed(Job.from_json(written), file.parent)
    return replace(job, **{**({"queries": tuple(queries)} if queries else {}), **said})


def _placed(job: Job, folder: Path) -> Job:
    """Write paths so that they are the same for whoever works on the job."""
    return replace(
        job,
        inputs=tuple(_absolute(each, folder) for each in job.inputs),
        queries=tuple(_with_mask(each, folder) for each in job.queries),
        within=tuple(_rooted(each, folder) for each in job.within),
    )


def _absolute(written: str, folder: Path) -> str:
    """Write a path, or a pattern of paths, from the root on; an address stays.

    Raises:
        JobError: it is in no store that is known.
    """
    rooted = _rooted(written, folder)
    if protocol_of(written) or not has_magic(written) or Path(rooted).exists():
        return rooted
    # Signs of a pattern in the folder's own name are none.
    return (Path(escape(str(folder.absolute()))) / local_path(written)).as_posix()


def _rooted(written: str, folder: Path) -> str:
    return written if protocol_of(written) else (folder.absolute() / local_path(written)).as_posix()


def _with_mask(query: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    mask = query.get("mask")
    return {**query, "mask": _absolute(mask, folder)} if isinstance(mask, str) else query
