"""All finished runs under a folder, one row per set of choices, beside the paper's numbers."""
