"""Forms of several parts (RFC 7578), read into memory, which the guard of bodies bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from promptseg.server.refusals import SHOWN, FieldError

FORM_HINT = "Send the parts as `curl -F image=@photo.jpg` does"


async def read_form(
    stream: AsyncIterator[bytes], content_type: str, *, most: int
) -> dict[str, str | bytes]:
    """Read the parts of a form by their names: files as bytes, and what has no file name as text.

    Raises:
        FieldError: it is damaged or cut short, has more than `most` parts, or two of one name.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise FieldError("the form does not say where its parts end", hint=FORM_HINT)
    form = _Form(most)
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        async for chunk in stream:
            parser.write(chunk)
    except FormParserError:
        raise FieldError("the form cannot be read", hint=FORM_HINT) from None
    if not form.ended:
        raise FieldError("the form ends before its last part does", hint=FORM_HINT)
    return form.parts


class _Form:
    """Collects parts as they are parsed."""

    def __init__(self, most: int) -> None:
        self.parts: dict[str, str | bytes] = {}
        self.ended = False
        self._most = most
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._name = ""
        self._is_file = False
        self._data = bytearray()

    def callbacks(self) -> dict[str, object]:
        """Name what is called when."""
        names = (
            "part_begin", "part_data", "part_end", "header_field", "header_value", "header_end",
            "headers_finished", "end",
        )  # fmt: skip
        return {f"on_{name}": getattr(self, name) for name in names}

    def part_begin(self) -> None:
        if len(self.parts) >= self._most:
            raise FieldError(f"a form has at most {self._most} parts here", hint=FORM_HINT)
        self._disposition, self._data = b"", bytearray()

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def headers_finished(self) -> None:
        options = parse_options_header(self._disposition)[1]
        try:
            self._name = options[b"name"].decode()
        except (KeyError, UnicodeDecodeError):
            raise FieldError("a part of the form has no name", hint=FORM_HINT) from None
        if self._name in self.parts:
            name = self._name[:SHOWN]
            raise FieldError(f"the part `{name}` is there twice", hint="Send one", field=name)
        self._is_file = b"filename" in options

    def part_data(self, data: bytes, start: int, end: int) -> None:
        self._data += memoryview(data)[start:end]

    def part_end(self) -> None:
        self.parts[self._name] = bytes(self._data) if self._is_file else self._text()
        self._data = bytearray()

    def end(self) -> None:
        self.ended = True

    def _text(self) -> str:
        try:
            return self._data.decode()
        except UnicodeDecodeError:
            name = self._name[:SHOWN]
            raise FieldError(f"the part `{name}` is no text in UTF-8", field=name) from None
