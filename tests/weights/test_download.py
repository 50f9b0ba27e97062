"""Weights of the hub are found on this machine, or fetched, or it is said what to do."""

from __future__ import annotations

import errno
import logging
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import errors

from promptseg.errors import ConfigError, WeightsError
from promptseg.weights import catalog, download
from promptseg.weights.load import load_source
from small_sam2 import small_sam2
from stored_sam2 import NAME, in_cache, transformers_tensors, write_meta, write_transformers

TINY = catalog.PUBLISHED[NAME]
URL = "https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_tiny.pt"


class FakeHub:
    """Has `files` of one size; remembers what was downloaded; or fails as it is told."""

    def __init__(self, hub, files=("model.safetensors",)):
        self.hub = hub
        self.files = files
        self.asked = []
        self.downloaded = []
        self.size = 10
        self.failure = None
        self.break_off = None

    def get_hf_file_metadata(self, url):
        self.asked.append(url)
        if self.failure:
            raise self.failure
        if url.rsplit("/", 1)[-1] not in self.files:
            raise errors.EntryNotFoundError("404")
        return SimpleNamespace(size=self.size)

    def hf_hub_download(self, repository, file):
        if self.break_off:
            raise self.break_off
        self.downloaded.append((repository, file))
        path = in_cache(self.hub, repository, file)
        return str((write_meta if file.endswith(".pt") else write_transformers)(path))


@pytest.fixture
def remote(hub, monkeypatch):
    """A hub that answers."""
    fake = FakeHub(hub)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", fake.get_hf_file_metadata)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fake.hf_hub_download)
    return fake


def response(status):
    return SimpleNamespace(headers={}, status_code=status, request=None)


@pytest.mark.parametrize("file", TINY.files)
def test_what_the_cache_has_is_taken(remote, file):
    """The hub is not asked, nothing is downloaded."""
    path = in_cache(remote.hub, TINY.repository, file)
    path.parent.mkdir(parents=True)
    path.touch()
    assert download.at_hand(TINY) == download.locate(TINY) == download.require(TINY) == path
    assert remote.asked == remote.downloaded == []


@pytest.mark.parametrize("file", ["sam2.1_hiera_tiny.pt", "sam2.1-tiny.safetensors", "sam2.1-tiny"])
def test_what_was_placed_by_hand_is_taken(remote, file):
    """By the publisher's name of the file, or by ours."""
    path = download.place() / file
    path.parent.mkdir(parents=True)
    path.touch()
    assert download.locate(TINY) == path
    assert remote.asked == []


def test_the_first_use_downloads_and_says_so_once(remote, caplog):
    """Size, source, licence and place; then the cache has it."""
    with caplog.at_level(logging.WARNING):
        path = download.locate(TINY)
        assert download.locate(TINY) == path
    assert remote.downloaded == [("facebook/sam2.1-hiera-tiny", "model.safetensors")]
    [said] = caplog.messages
    for part in ("`sam2.1-tiny`", "MB", "huggingface.co/facebook/sam2.1-hiera-tiny", "Apache-2.0"):
        assert part in said


def test_what_is_here_is_not_pulled_without_a_network(remote, caplog):
    """It is taken as it is, and that is said; the hub's refusal of a name still counts."""
    path = download.locate(TINY)
    remote.failure = ConnectionError("name or service not known")
    with caplog.at_level(logging.WARNING):
        assert download.fetch(TINY) == path
    assert "is here, and was not compared with the hub's" in caplog.messages[-1]
    remote.failure = errors.HFValidationError("no such name")
    with pytest.raises(ConfigError):
        download.fetch(TINY)


def test_the_publishers_file_does_as_well(remote):
    """Where a repository has no file of transformers'."""
    remote.files = ("sam2.1_hiera_tiny.pt",)
    assert download.fetch(TINY).name == "sam2.1_hiera_tiny.pt"


def test_no_network_says_what_to_download_and_to_where(remote):
    """One sentence, and the file's address and place."""
    remote.failure = ConnectionError("name or service not known")
    with pytest.raises(
        WeightsError, match=r"not on this machine, and .* cannot be reached"
    ) as caught:
        download.locate(TINY)
    assert URL in caught.value.hint
    assert str(download.place()) in caught.value.hint


def test_a_host_that_is_not_found_is_no_network(hub, no_network):
    """The hub's own library fails, and its error is understood."""
    with pytest.raises(WeightsError, match="cannot be reached"):
        download.locate(TINY)
    assert not hub.exists()


def test_offline_is_named(hub, monkeypatch):
    """The hub's own switch forbids to ask, which the library itself sees to."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE forbids") as caught:
        download.locate(TINY)
    assert URL in caught.value.hint
    assert not hub.exists()


@pytest.mark.parametrize(
    ("failure", "kind", "message", "hint"),
    [
        (
            errors.RepositoryNotFoundError("no", response=response(404)),
            ConfigError,
            "no such model on the hub",
            "promptseg models list",
        ),
        (
            errors.GatedRepoError("no", response=response(403)),
            WeightsError,
            "ask for access at .*HF_TOKEN",
            "by its path",
        ),
        (errors.HfHubHTTPError("no", response=response(503)), WeightsError, "answered 503", URL),
        (OSError(errno.ENOSPC, "No space left on device"), WeightsError, "no room", "HF_HOME"),
        (PermissionError(errno.EACCES, "Permission denied"), WeightsError, "cannot write", "HF_HO"),
        (OSError(errno.EROFS, "Read-only file system"), WeightsError, "cannot write", "HF_HOME"),
        (
            OSError(errno.EIO, "Input/output error"),
            WeightsError,
            "fetched: input/output error",
            URL,
        ),
        (errors.FileMetadataError("no\netag"), WeightsError, "cannot be fetched: no$", URL),
        (ConnectionResetError("reset"), WeightsError, "cannot be reached", URL),
        (TimeoutError("timed out"), WeightsError, "cannot be reached", URL),
        (RuntimeError("Data processing error"), WeightsError, "fetched: data processing", URL),
    ],
)
@pytest.mark.parametrize("when", ["failure", "break_off"])
def test_each_failure_is_a_sentence(remote, failure, kind, message, hint, when):
    """Before the download or in it; nothing is left behind."""
    setattr(remote, when, failure)
    with pytest.raises(kind, match=message) as caught:
        download.locate(TINY)
    assert hint in caught.value.hint
    assert caught.value.__cause__ is failure
    assert download.at_hand(TINY) is None
    assert not list(remote.hub.rglob("*.safetensors"))


@pytest.mark.parametrize("mistake", [TypeError("x"), KeyError("x"), NotImplementedError("x")])
@pytest.mark.parametrize("when", ["failure", "break_off"])
def test_a_mistake_in_a_program_is_shown_as_it_is(remote, mistake, when):
    """It is not the network's fault."""
    setattr(remote, when, mistake)
    with pytest.raises(type(mistake)) as caught:
        download.locate(TINY)
    assert caught.value is mistake


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (None, "cannot be reached"),
        (ConnectionError("refused"), "cannot be reached"),
        (errors.FileMetadataError("no etag"), "cannot be fetched: no etag"),
        (errors.HfHubHTTPError("no", response=response(503)), "answered 503"),
    ],
)
def test_a_file_that_the_hub_did_not_give_is_told_by_its_cause(remote, cause, message):
    """The library says that there is no file, and apart why."""
    remote.break_off = errors.LocalEntryNotFoundError("no file")
    remote.break_off.__cause__ = cause
    with pytest.raises(WeightsError, match=message):
        download.locate(TINY)


def test_a_name_that_is_no_repository_is_refused(remote):
    """The hub's library has rules for names."""
    remote.failure = errors.HFValidationError("Repo id must not have `--`")
    with pytest.raises(ConfigError, match="no such model on the hub"):
        download.locate(catalog.find("some--one/x"))


def test_a_repository_without_weights_is_refused(remote):
    """The files that were looked for are named."""
    remote.files = ()
    with pytest.raises(
        ConfigError, match=r"has no `model\.safetensors` or `sam2\.1_hiera_tiny\.pt`"
    ):
        download.locate(TINY)


def test_room_is_looked_for_first(remote):
    """A download that cannot fit is not begun."""
    remote.size = 10**18
    with pytest.raises(WeightsError, match=r"no room for `sam2\.1-tiny`.*are free"):
        download.locate(TINY)
    assert remote.downloaded == []


def test_a_full_disk_is_enough_for_what_is_there(remote):
    """A model of the cache is compared with the hub's, which takes no room."""
    path = download.fetch(TINY)
    remote.size = 10**18
    assert download.fetch(TINY) == path


def test_what_must_be_there_is_not_fetched(remote):
    """Where a command only looks, it says how to get the model."""
    with pytest.raises(WeightsError, match=r"`sam2\.1-tiny` is not on this machine") as caught:
        download.require(TINY)
    assert "promptseg models pull sam2.1-tiny" in caught.value.hint
    assert remote.asked == []


def test_a_name_gives_its_network(remote, known_sizes):
    """From name to network, through the hub."""
    assert load_source(TINY).spec.digest == load_source(TINY).spec.digest
    assert len(remote.downloaded) == 1


def test_other_weights_under_a_name_are_refused(remote, known_sizes):
    """A file that was misplaced does not pass for another model."""
    folder = download.place()
    write_transformers(folder / "sam2.1-large.safetensors", transformers_tensors(small_sam2()))
    with pytest.raises(WeightsError, match=r"holds `sam2\.1-tiny`, not `sam2\.1-large`"):
        load_source(catalog.PUBLISHED["sam2.1-large"])
    write_transformers(folder / "sam2-tiny.safetensors")
    with pytest.raises(WeightsError, match=r"holds `sam2\.1-tiny`, not `sam2-tiny`"):
        load_source(catalog.PUBLISHED["sam2-tiny"])


@pytest.mark.parametrize("when", ["failure", "break_off"])
def test_the_gate_of_sam3_is_one_sentence(remote, when):
    """The files, where access is asked for, the licence, and how to log in."""
    setattr(remote, when, errors.GatedRepoError("no", response=response(403)))
    sam3 = catalog.find("sam3")
    with pytest.raises(WeightsError) as caught:
        download.locate(sam3)
    said = str(caught.value)
    for part in (
        "`model.safetensors` or `sam3.pt`",
        "ask for access at https://huggingface.co/facebook/sam3",
        "(SAM License)",
        "`hf auth login` or HF_TOKEN",
    ):
        assert part in said
    assert "\n" not in said
    assert str(download.place()) in caught.value.hint


@pytest.mark.parametrize(
    "failure", [ConnectionError("refused"), errors.HfHubHTTPError("no", response=response(503))]
)
def test_sam3_without_a_network_says_what_to_ask_for(remote, failure):
    """That there is a gate is known before the hub says so."""
    remote.failure = failure
    with pytest.raises(WeightsError, match="`sam3` is not on this machine") as caught:
        download.locate(catalog.find("sam3"))
    assert "Ask for access to `model.safetensors` or `sam3.pt` at" in caught.value.hint
    assert "hf auth login" in caught.value.hint


def test_the_tokenizer_comes_with_the_weights(remote, monkeypatch):
    """Each of its files that the repository has, before the weights, so that these come last."""
    there = {"tokenizer.json", "config.json", "model.safetensors"}
    fetched = []

    def fetch(repository, file):
        if file not in there:
            raise errors.EntryNotFoundError("404")
        fetched.append(file)
        return str(in_cache(remote.hub, repository, file))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    for name in ("sam3", "someone/sam3-cells"):
        download.fetch(catalog.find(name))
        assert fetched == ["config.json", "tokenizer.json", "model.safetensors"]
        fetched.clear()
    download.fetch(TINY)
    assert fetched == ["model.safetensors"]


def test_a_tokenizer_that_cannot_be_fetched_is_not_left_out(remote, monkeypatch):
    """That the hub was lost is not that it has none."""
    lost = errors.LocalEntryNotFoundError("no such file here")

    def fetch(repository, file):
        raise lost

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    with pytest.raises(WeightsError, match="cannot be reached"):
        download.fetch(catalog.find("sam3"))


@pytest.mark.parametrize("shown", [True, False])
def test_bars_are_as_before_after_the_block(shown):
    """Switching them off does not outlast the command."""
    before = huggingface_hub.utils.are_progress_bars_disabled()
    with download.bars(shown=shown):
        assert huggingface_hub.utils.are_progress_bars_disabled() is (before if shown else True)
    assert huggingface_hub.utils.are_progress_bars_disabled() is before
