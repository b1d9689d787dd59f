"""One run in several processes, one per device, that run the same program, hold the same supernet, share every batch.

launch         the processes: which of them this is, and starting them where torchrun or Slurm did not
process_group  what they do together: what the main process alone does, sums, batches spread over them, comparisons
rng            what each of them draws
batch_norm     the statistics of a batch that is spread over them
"""
