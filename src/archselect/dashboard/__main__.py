"""`python -m archselect.dashboard --project P`."""

import sys

from archselect.dashboard.command import main

sys.exit(main())
