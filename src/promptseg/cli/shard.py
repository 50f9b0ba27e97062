"""One part of many: which images `--shard 2/8` means, and where their results go."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from promptseg.errors import ConfigError
from promptseg.formats.kinds import KINDS
from promptseg.formats.names import Format
from promptseg.formats.outcomes import FILE_NAME

WRITTEN = re.compile(r"(\d{1,6})/(\d{1,6})")
PART = re.compile(r"results-\d+-of-\d+\.jsonl")
HINT = "The second of eight parts is `--shard 2/8`"


@dataclass(frozen=True)
class Shard:
    """The `number`-th of `count` parts, from 1 on."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `2/8`.

        Raises:
            ConfigError: it is no such text, or there is no such part.
        """
        found = WRITTEN.fullmatch(text)
        if not found:
            raise ConfigError(f"`--shard` is a part of so many, got `{text:.40}`", hint=HINT)
        shard = cls(*map(int, found.groups()))
        if not 1 <= shard.number <= shard.count:
            raise ConfigError(f"of {shard.count} parts none is number {shard.number}", hint=HINT)
        return shard

    @property
    def file_name(self) -> str:
        """What its file of results is called, so that parts may share a folder."""
        if self.count == 1:
            return FILE_NAME
        return f"results-{self.number}-of-{self.count}.jsonl"

    def has(self, image: str) -> bool:
        """Whether an image of this name is in the part, whatever else is in the file."""
        digest = hashlib.sha256(image.encode(errors="surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1

    def require_apart(self, formats: Sequence[Format]) -> None:
        """Refuse formats that are one file of all images.

        Raises:
            ConfigError: one of them is.
        """
        for kind in formats:
            if self.count > 1 and KINDS[kind].name:
                raise ConfigError(
                    f"`{kind.value}` is one file of all images, and a shard has only some",
                    hint="Leave it out, and when all parts are done run the same command without "
                    "`--shard` in their folder: nothing is asked again",
                )


def others(results: Path) -> list[Path]:
    """Return the results of other parts, or of the whole, in the same folder."""
    beside = results.parent.glob("results*.jsonl")
    known = (path for path in beside if path.name == FILE_NAME or PART.fullmatch(path.name))
    return sorted(path for path in known if path.name != results.name)
