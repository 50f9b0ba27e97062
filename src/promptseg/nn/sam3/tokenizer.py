"""Phrases as numbers: CLIP's byte pairs (Radford 2021), cleaned as SAM 3 does."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import tokenizers
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from promptseg.errors import PromptError, WeightsError

# What is written otherwise than it is typed: quotes that bend, letters drawn as one, letters in the
# widths of Asian scripts, and the mark that may begin a file.
PLAIN = str.maketrans(
    {
        **dict.fromkeys("\u02bc\u2018\u2019\u201a\u201b", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f", '"'),
        **{each: unicodedata.normalize("NFKC", each) for each in "\u0132\u0133"},
        **{
            chr(place): unicodedata.normalize("NFKC", chr(place)) for place in range(0xFB00, 0xFB05)
        },
        **{
            chr(place): unicodedata.normalize("NFKC", chr(place)) for place in range(0xFF01, 0xFFF0)
        },
        "\ufeff": "",
    }
)


class TokenIds(NamedTuple):
    """`n` phrases as numbers of tokens; only `attended` ones are the phrase, the rest is zero."""

    ids: Int[Tensor, "n l"]
    attended: Bool[Tensor, "n l"]


class Tokenizer:
    """Takes phrases apart, by rules that come with the weights."""

    def __init__(self, rules: tokenizers.Tokenizer, *, context: int) -> None:
        rules.no_padding()
        rules.no_truncation()
        self.rules = rules
        self.context = context

    def __call__(self, phrases: Sequence[str]) -> TokenIds:
        """Number the tokens of phrases, on the CPU; the longest decides how many there are.

        Tokens are told from padding by how many a phrase has. Meta's release takes token 0 for
        padding, which is also that of `!` before some other marks, as in `!(`.

        Raises:
            PromptError: a phrase has more tokens than are read.
        """
        # One by one: a batch would start threads of the library's own, which outlive the call.
        rows = [self.rules.encode(clean(phrase)).ids for phrase in phrases]
        for phrase, row in zip(phrases, rows, strict=True):
            if len(row) > self.context:
                raise PromptError(
                    f"a phrase has at most {self.context} tokens, which are words and parts of "
                    f"words, got {len(row)} in {_shown(phrase)}",
                    hint="Say it shorter: a noun and what marks it, as in `striped cat`",
                )
        longest = max(map(len, rows), default=0)
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.long)
        padded = [row + [0] * (longest - len(row)) for row in rows]
        ids = torch.tensor(padded, dtype=torch.long).reshape(len(rows), longest)
        return TokenIds(ids, torch.arange(longest) < lengths[:, None])

    def to_json(self) -> str:
        """Return the rules as the text of a `tokenizer.json`."""
        text: str = self.rules.to_str()
        return text

    @classmethod
    def from_json(cls, text: str, *, context: int) -> Tokenizer:
        """Make a tokenizer of the text of a `tokenizer.json`.

        Raises:
            WeightsError: the text is no rules.
        """
        try:
            rules = tokenizers.Tokenizer.from_str(text)
        except Exception as error:
            raise WeightsError(
                f"the rules that take phrases apart are damaged: {error}",
                hint="Take the weights once more from where they come from",
            ) from error
        return cls(rules, context=context)


def clean(phrase: str) -> str:
    """Bring a phrase to plain letters, in lower case and with single spaces between words.

    So does Meta's release (`clean_text` of its tokenizer, by way of ftfy). Of what ftfy mends there
    is here what a phrase may hold that someone typed or copied: letters by their names in HTML,
    quotes that bend, letters drawn as one or in another width, accents apart from their letters,
    control characters and halves of pairs. Text that was once decoded wrongly is not mended.
    """
    whole = phrase.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    named = html.unescape(html.unescape(whole))
    plain = unicodedata.normalize("NFC", named.translate(PLAIN))
    typed = "".join(each for each in plain if each.isspace() or unicodedata.category(each) != "Cc")
    return " ".join(typed.split()).lower()


def _shown(phrase: str) -> str:
    return repr(phrase if len(phrase) < 64 else f"{phrase[:60]}...")
