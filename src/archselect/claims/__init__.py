"""The claims of the paper (DARTS-PT, ICLR 2021), judged by one's own runs and analyses."""
