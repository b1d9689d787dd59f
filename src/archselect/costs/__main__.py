"""`python -m archselect.costs GENOTYPE` and `python -m archselect.costs measure`."""

import sys

from archselect.pipeline import costs_command, measure_command

if sys.argv[1:2] == ["measure"]:
    sys.exit(measure_command.main(sys.argv[2:]))
sys.exit(costs_command.main())
