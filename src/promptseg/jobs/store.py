"""Where what came of jobs lies: files in a folder, or in a store that fsspec knows.

```text
JOB/results/<first two letters>/<sha256 of the content>.<ending>
JOB/manifest.jsonl
JOB/report.txt
```

A result is named by its content, so that work that was done twice is one file, and none is ever
written over.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from promptseg.errors import JobError
from promptseg.jobs.addresses import joined
from promptseg.jobs.files import Kind, files_at

RESULTS = "results"
JOB = re.compile(r"[A-Za-z0-9_-]{1,80}")
ENDING = re.compile(r"[a-z0-9-]{1,20}(\.[a-z0-9-]{1,20}){0,2}")
FILE = re.compile(r"[a-z]{1,20}\.[a-z]{1,10}")
RESULT = re.compile(
    rf"({JOB.pattern})/{RESULTS}/([0-9a-f]{{2}})/(\2[0-9a-f]{{62}})\.{ENDING.pattern}"
)
GONE_HINT = "What came of a job is dropped some time after its end: `keep_seconds` of the job"


class Store:
    """Results of jobs in a folder of this machine, which is made, or at an address.

    Any number of threads, processes and machines may share it.

    Raises:
        JobError: the address is in no store that is known, or the store refuses.
        MissingExtraError: the package of the store is not installed.
    """

    def __init__(self, address: str | Path) -> None:
        self.address = str(address)
        self._files = files_at(address)

    def put(self, job: str, content: bytes, ending: str) -> str:
        """Keep a result, and return its name; one that is there already is not written again.

        Raises:
            OutputError: it cannot be written; nothing of it is left.
        """
        _require(ENDING, ending, "an ending of a result")
        digest = hashlib.sha256(content).hexdigest()
        name = f"{_job(job)}/{RESULTS}/{digest[:2]}/{digest}.{ending}"
        if self._files.kind(self._at(name)) is None:
            self._files.write(self._at(name), [content])
        return name

    def write(self, job: str, file: str, content: Iterable[bytes]) -> str:
        """Keep a file about a job as a whole, part by part, and return its name.

        It takes the place of an earlier one once it is whole.

        Raises:
            OutputError: it cannot be written; the earlier one stays.
        """
        name = f"{_job(job)}/{_require(FILE, file, 'a file of a job')}"
        self._files.write(self._at(name), content)
        return name

    def open(self, name: str) -> BinaryIO:
        """Open what `put` or `write` have named.

        Raises:
            JobError: it is not there, or cannot be read.
        """
        job, _, file = name.partition("/")
        if not RESULT.fullmatch(name) and not (JOB.fullmatch(job) and FILE.fullmatch(file)):
            raise JobError(f"`{name:.200}` is no name of a result")
        if self._files.kind(self._at(name)) is None:
            raise JobError(f"`{name}` is not in the store `{self.address}`", hint=GONE_HINT)
        return self._files.open(self._at(name))

    def read(self, name: str) -> bytes:
        """Return what `put` or `write` have kept, as `open`.

        Raises:
            JobError: it is not there, or cannot be read.
        """
        with self.open(name) as file:
            try:
                return file.read()
            except OSError as error:
                raise JobError(f"cannot read `{name}` in the store `{self.address}`") from error

    def names(self, job: str) -> Iterator[str]:
        """Go through the names of a job's results, also of those that nothing refers to any more.

        Raises:
            JobError: the store cannot be looked into.
        """
        results = f"{_job(job)}/{RESULTS}"
        for folder in self._files.entries(self._at(results)):
            for file in self._files.entries(self._at(f"{results}/{folder.name}")):
                name = f"{results}/{folder.name}/{file.name}"
                if RESULT.fullmatch(name):
                    yield name

    def forget(self, job: str) -> None:
        """Drop all there is of a job; where there is nothing, nothing is done.

        Raises:
            OutputError: something cannot be removed.
        """
        if self._files.kind(self._at(_job(job))) is Kind.FOLDER:
            self._files.remove(self._at(job))

    def _at(self, name: str) -> str:
        return joined(self.address, name)


def digest_of(name: str) -> str:
    """Return the SHA-256 of a result's content, which its name says.

    Raises:
        JobError: it is no name of a result.
    """
    found = RESULT.fullmatch(name)
    if found is None:
        raise JobError(f"`{name:.200}` is no name of a result")
    return found[3]


def _job(job: str) -> str:
    return _require(JOB, job, "an id of a job")


def _require(pattern: re.Pattern[str], name: str, what: str) -> str:
    if not pattern.fullmatch(name):
        raise JobError(f"`{name:.80}` is no {what.partition(' ')[2]}")
    return name
