"""The report as one page: a single HTML file that opens without a network."""
