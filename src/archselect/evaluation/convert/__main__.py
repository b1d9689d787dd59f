"""`python -m archselect.evaluation.convert FILE --out nasbench201.csv`."""

import sys

from archselect.evaluation.convert.command import main

sys.exit(main())
