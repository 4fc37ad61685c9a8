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


class NothingToRollBack(LearningError):
    """No earlier model of the task has been deployed."""

    code = "nothing_to_roll_back"


class DeploymentRefused(LearningError):
    """The model cannot be loaded here, so that the one in place stays."""

    code = "deployment_refused"


class BadConfiguration(LearningError):
    """An option of a run is unknown or out of its range."""

    code = "bad_configuration"


class NothingNew(LearningError):
    """The same labels are or were learnt with the same configuration, by the run ``run_id``."""

    code = "nothing_new"

    def __init__(self, message: str, *, run_id: int) -> None:
        super().__init__(message)
        self.run_id = run_id


class RunCancelled(LearningError):
    """Somebody cancelled the run while it was at work."""

    code = "run_cancelled"


class FileUnreadable(LearningError):
    """A file of labelled texts is not as it should be."""

    code = "file_unreadable"


class RunEnded(LearningError):
    """The run has ended, so that there is nothing to cancel."""

    code = "run_ended"


class RunLost(LearningError):
    """The run was given to another worker meanwhile; what this one did is dropped."""

    code = "run_lost"


class GateRefused(LearningError):
    """The gate does not let the run pass, and nobody with the permission gave a reason."""

    code = "gate_refused"


class UnreadableEncoder(LearningError):
    """The encoder to start from cannot be tuned here."""

    code = "unreadable_encoder"


class TrainingDiverged(LearningError):
    """The loss is no number any more."""

    code = "training_diverged"


class BaseUnusable(LearningError):
    """The run to start from has no adapter or encoder that fits this configuration."""

    code = "base_unusable"


class NotShadowed(LearningError):
    """No candidate runs beside the deployed model of the task."""

    code = "not_shadowed"
