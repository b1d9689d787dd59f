"""How archselect runs the jobs of a sweep: Hydra finds launchers and sweepers in this namespace only.

sweepers    every combination, where a job that fails leaves the others alone; or a search over options, by Optuna
study       what Optuna has tried, kept
launchers   the jobs by joblib or submitit, through Hydra's plugins for them

Hydra imports these modules whenever it starts, so they import what is heavy or optional where they need it. They
register the resolvers of the configs, for every process in which a config is composed.
"""

from archselect.pipeline.command_line import register_resolvers

register_resolvers()  # a job of a sweep may begin in a process that never runs train.py
