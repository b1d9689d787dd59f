"""How archselect runs the jobs of a sweep: Hydra finds launchers and sweepers in this namespace only.

grid          every combination; a job that fails leaves the others alone
optuna_study  a search over options, by Optuna
launchers     the jobs by joblib or submitit, through Hydra's plugins for them

Hydra imports these modules whenever it starts, so they import what is heavy or optional where they need it. They
register the resolvers of the configs, for every process in which a config is composed.
"""

from archselect.pipeline.command_line import register_resolvers

register_resolvers()  # a job of a sweep may begin in a process that never runs train.py
