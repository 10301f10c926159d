"""Image formats that are read, and metadata of any size or kind beside sound pixels; imports no torch."""

from PIL import Image, ImageOps, PngImagePlugin

# decoders without interpreters behind them; those of AVIF and JPEG 2000 where this Pillow has them
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000")
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm",
    ".avif", ".avifs", ".jp2", ".j2k", ".jpx", ".jpf",
)  # fmt: skip
UNREAD = {
    ".heic": "HEIC", ".heif": "HEIC", ".tga": "TGA", ".ico": "ICO", ".psd": "PSD", ".svg": "SVG", ".eps": "EPS",
    ".pdf": "PDF", ".jxl": "JPEG XL", ".dng": "raw", ".cr2": "raw", ".nef": "raw", ".arw": "raw", ".dcm": "DICOM",
    ".exr": "OpenEXR", ".hdr": "Radiance", ".xcf": "XCF",
    ".dds": "DDS", ".rgb": "SGI", ".sgi": "SGI", ".bw": "SGI", ".pcx": "PCX", ".cur": "ICO", ".icns": "ICNS",
    ".mov": "a film", ".mp4": "a film", ".avi": "a film", ".mkv": "a film",
}  # fmt: skip

STARTS = {
    (0, b"%PDF"): "PDF", (0, b"8BPS"): "PSD", (0, b"DDS "): "DDS", (0, b"\x01\xda"): "SGI", (0, b"gimp xcf"): "XCF",
    (0, b"\xff\x0a"): "JPEG XL", (4, b"JXL "): "JPEG XL", (4, b"ftypavi"): "AVIF", (4, b"ftyphei"): "HEIC",
    (4, b"ftyphev"): "HEIC", (4, b"ftypmif1"): "HEIC", (4, b"ftypmsf1"): "HEIC", (4, b"ftypqt"): "a film",
    (4, b"ftypmp4"): "a film", (4, b"ftypiso"): "a film", (4, b"ftypM4V"): "a film",
}  # fmt: skip


def unread_kind(name: str, start: bytes) -> str:
    """The format of a file that is not read, by how it begins, else by how its name ends; empty where neither tells."""
    by_content = (kind for (at, signature), kind in STARTS.items() if start[at:].startswith(signature))
    by_name = (kind for suffix, kind in UNREAD.items() if name.lower().endswith(suffix))
    return next(by_content, "") or next(by_name, "")


PngImagePlugin.MAX_TEXT_CHUNK = 1 << 24  # bytes: a colour profile or a text of some megabytes is no bomb yet


def upright(image: Image.Image) -> None:
    """Turn an image as its EXIF says; one whose EXIF is damaged stays as it is."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # its reader fails in any way on a damaged block
        return
