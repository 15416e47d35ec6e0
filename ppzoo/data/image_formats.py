"""The image formats that can be decoded, and the file extensions by which image files are found in folders.

Excluded are formats that Pillow recognizes without decoding them (video, GRIB, HDF5) or decodes by running another
program (EPS), and rare ones without a usual extension (such as SPIDER and MCIDAS), which `DecodeImage` decodes, too.
"""

from __future__ import annotations

FORMAT_SUFFIXES: dict[str, tuple[str, ...]] = {
    "AVIF": (".avif", ".avifs"),
    "BLP": (".blp",),
    "BMP": (".bmp", ".dib"),
    "CUR": (".cur",),
    "DCX": (".dcx",),
    "DDS": (".dds",),
    "DIB": (".bmp", ".dib"),
    "FITS": (".fit", ".fits"),
    "FLI": (".flc", ".fli"),
    "FTEX": (".ftc", ".ftu"),
    "GBR": (".gbr",),
    "GIF": (".gif",),
    "ICNS": (".icns",),
    "ICO": (".ico",),
    "IM": (".im",),
    "JPEG": (".jfif", ".jpe", ".jpeg", ".jpg"),
    "JPEG2000": (".j2c", ".j2k", ".jp2", ".jpc", ".jpf", ".jpx"),
    "MPO": (".jpeg", ".jpg", ".mpo"),
    "MSP": (".msp",),
    "PCD": (".pcd",),
    "PCX": (".pcx",),
    "PIXAR": (".pxr",),
    "PNG": (".apng", ".png"),
    "PPM": (".pbm", ".pfm", ".pgm", ".pnm", ".ppm"),
    "PSD": (".psd",),
    "QOI": (".qoi",),
    "SGI": (".bw", ".rgb", ".rgba", ".sgi"),
    "SUN": (".ras",),
    "TGA": (".icb", ".tga", ".vda", ".vst"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "XBM": (".xbm",),
    "XPM": (".xpm",),
}
"""Pillow's name of each format -> the extensions of its files, in lower case."""

IMAGE_SUFFIXES = tuple(sorted({suffix for suffixes in FORMAT_SUFFIXES.values() for suffix in suffixes}))
