"""What can go wrong in learning, each with a stable code and a message for people."""

from __future__ import annotations


class LearningError(Exception):
    """Something was refused; nothing has changed. ``code`` is stable, the message says how to mend it."""

    code = "learning_error"


class UnknownTask(LearningError):
    """No task has this name."""

    code = "unknown_task"


class NothingToLearn(LearningError):
    """The labels do not suffice for a training."""

    code = "nothing_to_learn"


class RunNotReady(LearningError):
    """The run has no model that could be deployed."""

    code = "run_not_ready"


class AlreadyQueued(LearningError):
    """A run of this task waits or runs already."""

    code = "already_queued"


class NothingToRollBack(LearningError):
    """No earlier model of the task has been deployed."""

    code = "nothing_to_roll_back"


class DeploymentRefused(LearningError):
    """The model cannot be loaded here, so that the one in place stays."""

    code = "deployment_refused"
