"""A Weights & Biases workspace and report over the runs of a project: `python -m archselect.dashboard --project P`.

keys        what the runs log and the panels show
chapters    panels that belong together
definition  the workspace and the report made of them
account     saving them, where there is an account
command     the command line

It needs the library wandb-workspaces: `pip install -e '.[dashboard]'`.
"""
