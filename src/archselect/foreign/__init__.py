"""Files that may come from somebody else: read as data, bounded, or refused in one sentence. None of them runs code.

limits       how large, long and deep they may be
files        text in a folder, never through a link that leads out of it
json         JSON and its lines
config       the YAML of a run's config, without aliases and resolvers
targets      which classes such a config may name
tensors      what PyTorch saved
tables       parquet files
pictures     encoded images
"""
