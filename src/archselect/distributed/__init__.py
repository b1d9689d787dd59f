"""One run in several processes, one per device, which hold the same supernet and share every batch.

launch         the processes: which of them this is, and starting them where torchrun or Slurm did not
environment    where the tasks of Slurm meet
process_group  what they do together: what the main process alone does, sums, batches spread over them
consistency    whether they still hold the same numbers

Every process runs the same program. In a run of one process, which most are, all of this does nothing.
"""
