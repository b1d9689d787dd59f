"""Files that may come from somebody else: read as data, bounded, or refused in one sentence. None of them runs code."""
