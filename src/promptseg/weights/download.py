"""Weights of the hub: in its own cache on this machine, placed by hand, or fetched.

Everything is left to huggingface_hub: its cache, its variables (`HF_HOME`, `HF_HUB_CACHE`,
`HF_HUB_OFFLINE`, `HF_ENDPOINT`, `HF_TOKEN`), its progress bar on stderr, going on after a broken
connection. A file appears in the cache whole or not at all.
"""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import huggingface_hub
from huggingface_hub import constants

from promptseg.errors import ConfigError, PromptsegError, WeightsError, reason
from promptseg.weights.catalog import Hosted, Local, Published, Source, is_there

logger = logging.getLogger(__name__)

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class Remote(NamedTuple):
    """A file that the hub has, and its size in bytes where the hub says it."""

    file: str
    size: int | None


def place() -> Path:
    """Return the folder in which files that were placed by hand are found."""
    return Path(constants.HF_HOME) / "promptseg"


def at_hand(source: Source) -> Path | None:
    """Find weights on this machine, without asking the network."""
    if isinstance(source, Local):
        return source.path
    for path in _places(source):
        if is_there(path):
            return path
    for file in source.files:
        if found := _cached(source.repository, file):
            return found
    return None


def locate(source: Source) -> Path:
    """Find weights on this machine, or else fetch them.

    Raises:
        ConfigError: the hub has no such model.
        WeightsError: they cannot be had; the hint says what to download, and to where.
    """
    return at_hand(source) or fetch(source)


def require(source: Source) -> Path:
    """Find weights on this machine.

    Raises:
        WeightsError: they are not there.
    """
    found = at_hand(source)
    if found is None:
        raise WeightsError(
            f"`{source.name}` is not on this machine",
            hint=f"Get it with `promptseg models pull {source.name}`",
        )
    return found


def fetch(source: Source) -> Path:
    """Ask the hub for weights, and download what is not in the cache or is newer there.

    Where the hub cannot be asked, what is on this machine already is taken.

    Raises:
        ConfigError: the hub has no such model.
        WeightsError: they cannot be had; the hint says what to download, and to where.
    """
    if isinstance(source, Local):
        return source.path
    try:
        remote = _ask(source)
        if _cached(source.repository, remote.file) is None:
            _require_room(source, remote)
            logger.warning("%s", _announcement(source, remote))
        # Weights come last: where these are, all is.
        _fetch_beside(source)
        return Path(huggingface_hub.hf_hub_download(source.repository, remote.file))
    except PromptsegError:
        raise
    # Which errors there are depends on the HTTP library of the hub's release.
    except Exception as error:
        translated = _translated(source, error)
        if translated is None:
            raise
        there = at_hand(source)
        if there is not None and isinstance(translated, WeightsError):
            logger.warning("`%s` is here, and was not compared with the hub's", source.name)
            return there
        raise translated from error


@contextmanager
def bars(*, shown: bool) -> Iterator[None]:
    """Let the hub's progress bars be shown on stderr, or not, within the block."""
    # Not above: it loads the HTTP library, which takes a third of a second.
    from huggingface_hub import utils

    before = utils.are_progress_bars_disabled()
    if not shown:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        if not shown and not before:
            utils.enable_progress_bars()


def _places(source: Hosted) -> list[Path]:
    if not isinstance(source, Published):
        return []
    folder = place()
    return [folder / f"{source.name}.safetensors", folder / source.own_file, folder / source.name]


def _cached(repository: str, file: str) -> Path | None:
    try:
        # A path, None, or a mark for a file that the hub is known not to have.
        found = huggingface_hub.try_to_load_from_cache(repository, file)
    except ValueError:  # no name for a repository; where the hub is asked, that is said
        return None
    return Path(found) if isinstance(found, str) else None


def _ask(source: Hosted) -> Remote:
    """Find the best file that the hub has; at once where there is no network."""
    # Not above, for the same reason.
    from huggingface_hub.errors import EntryNotFoundError

    for file in source.files:
        try:
            told = huggingface_hub.get_hf_file_metadata(
                huggingface_hub.hf_hub_url(source.repository, file)
            )
        except EntryNotFoundError:
            continue
        return Remote(file, told.size)
    raise ConfigError(
        f"the hub's `{source.repository}` has no {_files(source)}",
        hint=f"Look at {page(source)}, download the weights and give their path",
    )


def _fetch_beside(source: Hosted) -> None:
    """Fetch what belongs to the weights, as far as the hub has it."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for file in source.beside:
        try:
            huggingface_hub.hf_hub_download(source.repository, file)
        except LocalEntryNotFoundError:  # the hub could not be asked
            raise
        except EntryNotFoundError:
            continue


def _require_room(source: Hosted, remote: Remote) -> None:
    folder = Path(constants.HF_HUB_CACHE)
    there = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(there).free
    if remote.size is not None and remote.size > free:
        raise _no_room(source, f"it takes {_amount(remote.size)}, {_amount(free)} are free")


def _announcement(source: Hosted, remote: Remote) -> str:
    size = f", {_amount(remote.size)}," if remote.size else ""
    licence = f"licence {source.licence}" if isinstance(source, Published) else "see its licence"
    return (
        f"downloading `{source.name}`{size} from {page(source)} ({licence}) "
        f"to {constants.HF_HUB_CACHE}"
    )


def _translated(source: Hosted, error: Exception) -> PromptsegError | None:
    """Say an error of the hub's library in our words; None where it is a mistake in a program."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    if isinstance(error, LocalEntryNotFoundError):
        # That there is no file is what came of another error.
        cause = error.__cause__
        return _translated(source, cause) if isinstance(cause, Exception) else _unreachable(source)
    if isinstance(error, GatedRepoError):
        return WeightsError(
            f"{_files(source)} of `{source.repository}` is given only to those who ask for access "
            f"at {page(source)}{_licence(source)} and log in with `hf auth login` or HF_TOKEN",
            hint="What you have already may be given by its path" + _or_placed(source),
        )
    if isinstance(error, (RepositoryNotFoundError, HFValidationError)):
        return ConfigError(
            f"there is no file `{source.name}` here, and no such model on the hub",
            hint="`promptseg models list` has the models that are known",
        )
    if isinstance(error, HfHubHTTPError):
        status = getattr(error.response, "status_code", "an error")
        return WeightsError(
            f"`{source.name}` is not on this machine, and the hub answered {status}",
            hint=_by_hand(source),
        )
    if _is_of_connection(error):
        return _unreachable(source)
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return _no_room(source, reason(error))
    if isinstance(error, OSError) and error.errno in FORBIDDEN:
        return WeightsError(
            f"cannot write `{source.name}` to {constants.HF_HUB_CACHE}: {reason(error)}",
            hint="Set HF_HOME to a folder that can be written to",
        )
    # Of no kind of its own is what the hub's downloader, `hf_xet`, raises when it breaks off.
    if isinstance(error, OSError) or type(error) is RuntimeError:
        why = next(iter(reason(error).splitlines()), type(error).__name__)
        return WeightsError(f"`{source.name}` cannot be fetched: {why}", hint=_by_hand(source))
    return None


def _is_of_connection(error: Exception) -> bool:
    """Tell whether a host was not reached, or lost: by Python, or the hub's HTTP library."""
    from huggingface_hub.errors import HfHubHTTPError

    library = _package(HfHubHTTPError.__bases__[0])
    return isinstance(error, (ConnectionError, TimeoutError)) or _package(type(error)) == library


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _unreachable(source: Hosted) -> WeightsError:
    if constants.HF_HUB_OFFLINE:
        return WeightsError(
            f"`{source.name}` is not on this machine, and HF_HUB_OFFLINE forbids to fetch it",
            hint=f"Unset it; or {_lowered(_by_hand(source))}",
        )
    return WeightsError(
        f"`{source.name}` is not on this machine, and {constants.ENDPOINT} cannot be reached",
        hint=_by_hand(source),
    )


def _files(source: Hosted) -> str:
    return " or ".join(f"`{file}`" for file in source.files)


def _licence(source: Hosted) -> str:
    return f" ({source.licence})" if isinstance(source, Published) else ""


def _or_placed(source: Hosted) -> str:
    return f", or lie in {place()}" if isinstance(source, Published) else ""


def _by_hand(source: Hosted) -> str:
    if isinstance(source, Published) and source.gated:
        return (
            f"Ask for access to {_files(source)} at {page(source)}{_licence(source)}, log in with "
            f"`hf auth login` or HF_TOKEN, and download it, with the files of the tokenizer, "
            f"into {place()}"
        )
    if isinstance(source, Published):
        return f"Download {source.url} ({source.megabytes} MB) into {place()}"
    return f"Download the weights from {page(source)} elsewhere, and give their path"


def _no_room(source: Hosted, why: str) -> WeightsError:
    return WeightsError(
        f"no room for `{source.name}` in {constants.HF_HUB_CACHE}: {why}",
        hint="Make room there, or set HF_HOME to a folder on another disk",
    )


def page(source: Hosted) -> str:
    """Return the address of the hub's page about a model, with its licence."""
    return f"{constants.ENDPOINT}/{source.repository}"


def _amount(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def _lowered(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
