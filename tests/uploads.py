"""Small image files of every kind that is read, made in memory, and bombs."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 13, 11
ORIENTATION = 0x0112


def encoded(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def picture(mode="RGB", height=HEIGHT, width=WIDTH):
    values = np.random.default_rng(5).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(values, "RGBA" if mode == "RGBA" else None).convert(mode)


def every_kind():
    """Return file bytes by name: each format with each of its modes, compressions and turns."""
    grey = np.asarray(picture("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    real = Image.fromarray((grey / 255).astype(np.float32))
    kinds = {
        f"{kind} {mode}": encoded(picture(mode), kind)
        for kind, modes in {
            "PNG": ("RGB", "RGBA", "L", "LA", "P", "1"),
            "JPEG": ("RGB", "L", "CMYK"),
            "WEBP": ("RGB", "RGBA", "L"),
            "BMP": ("RGB", "RGBA", "L", "P", "1"),
            "TIFF": ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "LAB"),
            "GIF": ("RGB", "L", "P"),
        }.items()
        for mode in modes
    }
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        kinds[f"TIFF {compression}"] = encoded(picture(), "TIFF", compression=compression)
    for kind, suffix in (("PNG", "deep"), ("TIFF", "deep")):
        kinds[f"{kind} {suffix}"] = encoded(deep, kind)
    kinds["TIFF real"] = encoded(real, "TIFF")
    kinds["TIFF 64 bits"] = encoded(picture(), "TIFF", big_tiff=True)
    kinds["JPEG progressive"] = encoded(picture(), "JPEG", progressive=True)
    kinds["JPEG with a profile"] = encoded(picture(), "JPEG", icc_profile=b"\xff\xc0" * 40_000)
    kinds["PNG transparent palette"] = encoded(picture("P"), "PNG", transparency=3)
    kinds["WEBP lossless"] = encoded(picture("RGBA"), "WEBP", lossless=True)
    kinds["GIF with a comment"] = encoded(picture("P"), "GIF", comment=b"," * 999)
    frames = {"save_all": True, "append_images": [Image.new("RGB", (WIDTH, HEIGHT), "red")]}
    for kind in ("PNG", "WEBP", "GIF", "TIFF"):
        kinds[f"{kind} animated"] = encoded(picture(), kind, **frames)
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = turn
        for kind in ("PNG", "JPEG", "WEBP", "TIFF"):
            kinds[f"{kind} turned {turn}"] = encoded(picture(), kind, exif=exif)
    kinds["TIFF turned lzw"] = encoded(picture(), "TIFF", exif=exif, compression="tiff_lzw")
    return kinds


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *chunks):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + png_chunk(b"IDAT", b"")


def tiff(*entries, tail=b""):
    """Return a TIFF of entries (tag, type, count, value), then `tail`, which begins at the end."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed + bytes(4) + tail


def huge():
    """Return headers, by name, that state more pixels than anything should decode."""
    gif = struct.pack("<6sHHBBB", b"GIF89a", 65535, 65535, 0, 0, 0)
    frame = struct.pack("<BHHHHB", 0x2C, 0, 0, 65535, 65535, 0) + b"\x02\x01\x00\x00;"
    webp = struct.pack("<4sI4s4sII", b"RIFF", 100, b"WEBP", b"VP8X", 10, 0) + b"\xff" * 6
    strips = (256, 4, 1, 100_000), (257, 4, 1, 100_000), (278, 4, 1, 100_000), (273, 4, 1, 8)
    return {
        "PNG": png(60_000, 60_000),
        "JPEG": b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", 65500, 65500) + bytes(80),
        "GIF screen": gif + frame,
        "GIF frame": struct.pack("<6sHHBBB", b"GIF89a", 1, 1, 0, 0, 0) + frame,
        "WEBP canvas": webp + bytes(100),
        "WEBP lossless": b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\xff\xff\xff\xff" + bytes(100),
        "BMP": b"BM" + bytes(12) + struct.pack("<Iii", 40, 60_000, -60_000) + bytes(100),
        "TIFF": tiff(*strips),
    }


@cache
def unpacking():
    """Return files, by name, that are small images and unpack to 100 MB or more beside them."""
    much = zlib.compress(bytes(100_000_000), 9)
    megabyte = zlib.compress(bytes(1_000_000), 9)
    profile = png_chunk(b"iCCP", b"p\0\0" + much)
    text = png_chunk(b"zTXt", b"t\0\0" + much)
    other = png_chunk(b"iTXt", b"t\0\1\0\0\0" + much)
    small = png_chunk(b"zTXt", b"t\0\0" + megabyte)
    # The same 100 KB are the value of each of 3,000 tags.
    entries = [(256, 4, 1, 5), (257, 4, 1, 5)]
    where = 8 + 2 + 12 * 3002 + 4
    tags = [(tag, 1, 100_000, where) for tag in range(40_000, 43_000)]
    return {
        "PNG profile": png(5, 5, profile),
        "PNG text": png(5, 5, text),
        "PNG international text": png(5, 5, other),
        "PNG many texts": png(5, 5, *[small] * 300),
        "PNG pixels": png(5, 5, png_chunk(b"IDAT", much)),
        "TIFF tags": tiff(*entries, *tags, tail=bytes(100_000)),
    }
