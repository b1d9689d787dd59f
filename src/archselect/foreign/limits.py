"""How large, long and deep a file that may come from somebody else may be."""

MEBIBYTE = 1024**2

CONFIG_BYTES = MEBIBYTE // 4
"""Of a config; that of a run takes 5 to 10 kB, and a megabyte of YAML takes seconds."""

CONFIG_DEPTH = 30
"""Of a config: objects in lists in objects; that of a run is 6 deep."""

JSON_BYTES = 256 * MEBIBYTE
"""Of a file of JSON or of its lines; the longest, the history of 600 epochs in the DARTS space, takes 10 MB."""

JSON_DEPTH = 50
"""Of JSON; that of a history is 5 deep."""

TEXT_BYTES = MEBIBYTE
"""Of a text that is read for the report, such as the reading of an analysis."""

GENOTYPE_CHARACTERS = 100_000
"""Of a genotype in any form; it takes a few hundred."""

PICTURE_PIXELS = 80_000_000
"""Of a picture; Pillow warns from 89 million on. A camera's have 10 to 60 million."""

PICTURE_BYTES = 64 * MEBIBYTE
"""Of a picture of a run, as a file."""

PICTURE_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""What is decoded. Pillow knows more, and hands one of those, EPS, to Ghostscript, which runs it as a program."""

TABLE_BYTES = 64 * MEBIBYTE
"""Of the NAS-Bench-201 table, as a file and in memory; that of all architectures takes 3 MB."""

TABLE_ROWS = 100_000
"""Of the NAS-Bench-201 table; there are 15,625 architectures."""

LINE_BYTES = 64 * 1024
"""Of the names of its columns, as a line of text."""

EXPANSION = 20
"""How many times a parquet file of images may grow in memory; images are compressed already and grow by little."""

EXPANSION_FREE = 256 * MEBIBYTE
"""What such a file may take in memory, however small it is."""
