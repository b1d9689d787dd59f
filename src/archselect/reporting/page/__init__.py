"""The report as one page: a single HTML file that opens without a network.

page         what stands on it, and the file
table        the summary table, and what its columns are sorted by
run          what a run shows
decisions    what a selection decided, row by row
pictures     PNGs, each embedded once
links        to the folders that the page is about
analyses     what `python analyze.py` left
notes        what is missing, in sentences
"""
