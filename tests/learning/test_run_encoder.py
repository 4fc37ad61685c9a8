"""Another encoder is a folder that the worker reads or an address that it fetches: not everybody may name one."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from lepton_app.learning import runs
from lepton_app.learning.errors import BadConfiguration
from lepton_app.learning.models import Run, Snapshot
from tests.learning import toys

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("encoder", ["/etc", "somebody/encoder"])
def test_a_person_who_may_train_may_not_name_an_encoder(encoder: str) -> None:
    task = toys.labelled_task("intent")
    trainer = User.objects.create_user("trainer", is_staff=True)
    with pytest.raises(BadConfiguration, match="only an administrator names another encoder"):
        runs.request_run(task, method="lora", changes={"encoder": encoder}, requested_by=trainer)
    assert not Run.objects.exists()
    assert not Snapshot.objects.exists()


def test_an_administrator_and_the_command_line_may() -> None:
    task = toys.labelled_task("intent")
    administrator = User.objects.create_superuser("root")
    asked = runs.request_run(task, method="lora", changes={"encoder": "/encoders/a"}, requested_by=administrator)
    typed = runs.request_run(task, method="lora", changes={"encoder": "/encoders/b"})
    assert [run.config["encoder"] for run in (asked, typed)] == ["/encoders/a", "/encoders/b"]
