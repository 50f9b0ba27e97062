"""What came of a job: a manifest and a report in the store, and files in a folder for people."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from promptseg.errors import JobError, OutputError, reason
from promptseg.formats.outcomes import FILE_NAME
from promptseg.io.files import fingerprint, write_atomically, write_text
from promptseg.jobs import documents
from promptseg.jobs.ledger import Entry, Ledger, Status
from promptseg.jobs.store import Store, digest_of

MANIFEST = "manifest.jsonl"
REPORT = "report.txt"
JOB = "job.json"
ELSEWHERE = "Choose another folder with `-o`, or move that file away"


def write(ledger: Ledger, store: Store, job: str) -> None:
    """Write the manifest and the report of a job into the store, as its images stand now.

    Neither is held in memory as a whole.

    Raises:
        JobError: there is no such job.
        OutputError: one cannot be written; an earlier one stays.
    """
    status = ledger.status(job)
    store.write(job, MANIFEST, map(line_of, ledger.entries(job)))
    store.write(job, REPORT, report(status, ledger.entries(job)))


def line_of(entry: Entry) -> bytes:
    """Write a line of a manifest: an image, its state, its result, its files and its problems."""
    outcome = entry.outcome
    said = {
        "image": entry.item.image,
        "state": outcome.state.value,
        "result": outcome.result,
        "files": dict(outcome.files),
        "problems": list(outcome.problems),
    }
    return json.dumps(said).encode() + b"\n"


def report(status: Status, entries: Iterator[Entry]) -> Iterator[bytes]:
    """Write how a job went: a line of numbers, then a line for each problem."""
    counts = [
        f"{count} {state}"
        for state, count in (
            ("done", status.done),
            ("failed", status.failed),
            ("cancelled", status.cancelled),
            ("not done yet", status.queued + status.running),
        )
        if count
    ]
    said = ", ".join(counts) or "none was found"
    yield _text(f"job {status.id}: {status.state.value}; images: {said}")
    for problem in status.problems:
        yield _text(problem)
    for entry in entries:
        for problem in entry.outcome.problems:
            yield _text(f"{entry.item.image}: {problem}")


def fetch(ledger: Ledger, store: Store, job: str, folder: str | Path) -> Iterator[Path]:
    """Bring what has come of a job into a folder, and hand out each file as soon as it is there.

    `results.jsonl` has the answers, as `promptseg run` writes them; files of formats have their
    names for people; `report.txt` says how it went, and `job.json` whose folder this is. Fetching
    again brings what has come since, and leaves what is there. Where two images would have a file
    of one name, one of them has its number in the job in it. Images are not needed.

    Raises:
        JobError: there is no such job, or a result is gone or cannot be read.
        OutputError: a file cannot be written, or the folder has files of another run.
        MaskError: masks of an image do not fit each other, as it changed meanwhile.
    """
    folder = Path(folder)
    status = ledger.status(job)
    formats = status.job.formats
    _require_own(folder, job, [FILE_NAME, REPORT, *documents.names(formats).values()])
    write_text(folder / JOB, json.dumps(status.as_json(), indent=2) + "\n")
    results = folder / FILE_NAME
    yield write_atomically(
        results, lambda file: file.writelines(_answers(store, ledger.entries(job)))
    )
    for entry in ledger.entries(job):
        for name, stored in entry.outcome.files.items():
            yield _bring(store, stored, folder / _safe(name), entry.number)
    yield from documents.write(formats, results, folder)
    yield write_atomically(
        folder / REPORT, lambda file: file.writelines(report(status, ledger.entries(job)))
    )


def _require_own(folder: Path, job: str, names: list[str]) -> None:
    """Refuse a folder that has files of another job, or of a run."""
    try:
        said = json.loads((folder / JOB).read_bytes())
    except FileNotFoundError:
        if taken := next((name for name in names if (folder / name).exists()), None):
            raise OutputError(
                f"`{folder / taken}` is there, and is not of this job", hint=ELSEWHERE
            ) from None
        return
    except (OSError, ValueError) as error:
        raise OutputError(
            f"cannot read `{folder / JOB}`: {reason(error)}", hint=ELSEWHERE
        ) from error
    if not isinstance(said, dict) or said.get("id") != job:
        raise OutputError(f"`{folder}` has what came of another job", hint=ELSEWHERE)


def _answers(store: Store, entries: Iterator[Entry]) -> Iterator[bytes]:
    for entry in entries:
        if entry.outcome.result is not None:
            yield store.read(entry.outcome.result)


def _bring(store: Store, stored: str, path: Path, number: int) -> Path:
    """Copy a file out of the store to the first of two names that is free, or has it already."""
    stem, point, ending = path.name.partition(".")
    for place in (path, path.with_name(f"{stem}-{number}{point}{ending}")):
        if not place.exists():
            with store.open(stored) as source:
                return write_atomically(place, lambda file: shutil.copyfileobj(source, file))
        if place.is_file() and fingerprint(place) == digest_of(stored):
            return place
    raise OutputError(f"`{path}` is there, and is not that of this job", hint=ELSEWHERE)


def _safe(name: str) -> PurePosixPath:
    """Refuse the name of a file that would lie outside of the folder."""
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts or set("\\:\0") & set(name):
        raise JobError(f"the job names a file `{name:.200}`, which may lie outside of the folder")
    return path


def _text(line: str) -> bytes:
    """Write a line, whatever is in it, as one line."""
    return " ".join(line.split()).encode(errors="backslashreplace") + b"\n"
