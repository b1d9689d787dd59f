"""`python -m archselect.costs GENOTYPE`."""

import sys

from archselect.pipeline.costs_command import main

sys.exit(main())
