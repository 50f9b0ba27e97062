"""What a user of the built-in model is told once: that there are better ones, how to get them."""

from __future__ import annotations

from promptseg.cli import console

LINE = (
    "`builtin` is small and quick; for better masks get SAM 2.1 once with "
    "`promptseg models pull sam2.1-tiny` (156 MB) and ask with `--model sam2.1-tiny`; "
    "`promptseg models list` has larger ones"
)
MARK = "told-of-better-models"


def name_better_models(model: str, *, quiet: bool) -> None:
    """Say it on a terminal, once on this machine, to a user of the built-in model who has none."""
    if quiet or model != "builtin" or not console.is_terminal():
        return
    # Here and not above: it loads torch, as the command that calls does in any case.
    from promptseg.weights import catalog, download

    mark = download.place() / MARK
    if mark.exists() or any(download.at_hand(each) for each in catalog.PUBLISHED.values()):
        return
    console.note(LINE)
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError:
        # It will be said again, which is no reason to fail.
        return
