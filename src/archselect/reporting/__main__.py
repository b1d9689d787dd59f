"""`python -m archselect.reporting logs`."""

import sys

from archselect.reporting.report import main

sys.exit(main())
