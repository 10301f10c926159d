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
}  # fmt: skip

PngImagePlugin.MAX_TEXT_CHUNK = 1 << 24  # bytes: a colour profile or a text of some megabytes is no bomb yet


def upright(image: Image.Image) -> None:
    """Turn an image as its EXIF says; one whose EXIF is damaged stays as it is."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # its reader fails in any way on a damaged block
        return
