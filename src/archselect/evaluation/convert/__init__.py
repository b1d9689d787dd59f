"""From the files of NAS-Bench-201 and NATS-Bench to the table that `archselect.evaluation.nasbench201` reads.

    python -m archselect.evaluation.convert FILE --out nasbench201.csv

FILE is one of

- `NAS-Bench-201-v1_0-e61699.pth`, `NAS-Bench-201-v1_1-096897.pth`: by `torch.save`, in its old or its zip format;
- `NATS-tss-v1_0-3ffb9.pickle.pbz2`: all architectures in one file;
- `NATS-tss-v1_0-3ffb9-simple`: a folder with `meta.pickle.pbz2` and a file for each architecture.

They are pickles, which may call any function of Python, and their curves over all epochs take more than 10 GB once
they are loaded. Here a pickle can name only what these files name (`stand_ins`), gets inert data for it (`unpickler`),
and keeps only the accuracies after the last of 200 epochs; so the memory stays far below 4 GB.

The accuracies are those of the official `get_more_info(index, data, hp="200", is_random=False)`, the mean over the
seeds that the architecture was trained with:

| column | trained on | judged on |
|---|---|---|
| `cifar10_valid` | half of CIFAR-10's training images (`cifar10-valid`) | the other half (`x-valid`) |
| `cifar10_test` | all of them (`cifar10`) | the test images (`ori-test`) |
| `cifar100_valid`, `cifar100_test` | `cifar100` | each a half of the test images (`x-valid`, `x-test`) |
| `imagenet16_120_valid`, `imagenet16_120_test` | `ImageNet16-120` | likewise |

They are rounded to 4 decimals: the files hold means of 32-bit numbers, in which equal accuracies differ. `n_seeds` says
over how many seeds `cifar10_test` is the mean.
"""
