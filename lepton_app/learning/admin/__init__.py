"""The staff's face of learning: what is labelled, what was trained, what is at work, and the steps between them.

base         lists to look at, steps that ask before they act
tasks        tasks; training begins and is rolled back here
labels       labels, samples, annotations
snapshots    what runs have learnt from
runs         training runs and the step to work
deployments  which model was at work from when to when
"""

from lepton_app.learning.admin import deployments, labels, runs, shadows, snapshots, tasks

__all__ = ["deployments", "labels", "runs", "shadows", "snapshots", "tasks"]
