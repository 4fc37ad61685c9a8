"""The steps that a ready run can take: to work, past the gate or with a reason, and into the shadow and out of it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import action
from unfold.enums import ActionVariant

from lepton_app.learning import deployments, shadow
from lepton_app.learning.admin import run_parts
from lepton_app.learning.admin.base import ConfirmedStepMixin, person_of
from lepton_app.learning.errors import GateRefused, LearningError
from lepton_app.learning.models import Deployment, Run, Shadow


class ReasonForm(forms.Form):
    """Why a model goes to work that the gate does not pass."""

    reason = forms.CharField(
        label=_("Reason"),
        strip=True,
        min_length=deployments.LEAST_REASON_CHARACTERS,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 4, "class": "learn-input", "required": True}),
        help_text=_("Why it goes to work all the same. It is kept with the deployment for good."),
    )


class RunStepsMixin(ConfirmedStepMixin):
    """*Deploy*, *Shadow* and *Stop the shadow* on the page of a run."""

    actions_detail = ("deploy", "start_shadow", "stop_shadow")

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[Any]:
        """Offer what the run can do now: nothing before it is ready, no shadow of what is at work."""
        assert isinstance(self, ModelAdmin)
        run = self.get_object(request, str(object_id))
        offered = set()
        if run is not None and run.status == Run.Status.READY and run.method != Run.Method.PRETRAIN:
            at_work = Deployment.objects.filter(task=run.task_id, ended_at__isnull=True).first()
            is_shadow = Shadow.objects.filter(run=run, ended_at__isnull=True).exists()
            if at_work is None or at_work.run_id != run.pk:
                offered.add("deploy")
                if at_work is not None:
                    offered.add("stop_shadow" if is_shadow else "start_shadow")
        actions = super().get_actions_detail(request, object_id)  # type: ignore[misc]  # ModelAdmin has it
        return [one for one in actions if one.method.__name__ in offered]

    @action(
        description=_("Deploy"),
        url_path="deploy",
        permissions=["deploy"],
        icon="rocket_launch",
        variant=ActionVariant.PRIMARY,
    )
    def deploy(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what the gate says; on POST put the run's model to work, if need be with a reason."""
        assert isinstance(self, ModelAdmin)
        run: Run = self.found(request, object_id)
        back = reverse("admin:learning_run_change", args=[run.pk])
        may_override = request.user.has_perm(deployments.OVERRIDE)
        # Whoever may not override is asked for no reason: the gate alone decides.
        form = ReasonForm(request.POST if may_override and "reason" in request.POST else None)
        refused = ""
        if request.method == "POST" and (not form.is_bound or form.is_valid()):
            reason = form.cleaned_data["reason"] if form.is_bound else ""
            try:
                deployments.deploy(run, by=person_of(request), reason=reason)
            except GateRefused as error:
                refused = str(error)
                run.refresh_from_db(fields=["gate", "verdict"])
            except LearningError as error:
                messages.error(request, str(error))
                return HttpResponseRedirect(back)
            else:
                done = gettext("Run #%(number)s is at work.") % {"number": run.pk}
                self.log_change(request, run, done)
                messages.success(request, done)
                return HttpResponseRedirect(back)
        return self._deploy_page(request, run, form=form, may_override=may_override, refused=refused, back=back)

    def _deploy_page(
        self, request: HttpRequest, run: Run, *, form: ReasonForm, may_override: bool, refused: str, back: str
    ) -> HttpResponse:
        assert isinstance(self, ModelAdmin)
        at_work = deployments.current(run.task.name)
        gate = run_parts.gate_of(run)
        is_fresh = gate is not None and gate.against == (at_work.run_id if at_work is not None else None)
        needs_reason = bool(refused) or (gate is not None and is_fresh and gate.verdict != Run.Verdict.PASS)
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Put run #%(number)s of “%(task)s” to work?") % {"number": run.pk, "task": run.task},
            "opts": self.opts,
            "original": run,
            "gate": gate,
            "is_fresh": is_fresh,
            "at_work": f"#{at_work.run_id}" if at_work is not None else "–",
            "form": form,
            "needs_reason": needs_reason,
            "may_deploy": not needs_reason or may_override,
            "refused": refused,
            "back": back,
        }
        return TemplateResponse(request, "admin/learning/deploy.html", context)

    @action(description=_("Shadow"), url_path="shadow", permissions=["deploy"], icon="compare_arrows")
    def start_shadow(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let the run's model run beside the one at work, on live texts."""
        run: Run = self.found(request, object_id)
        at_work = deployments.current(run.task.name)
        active = shadow.current(run.task.name)

        def step() -> str:
            shadow.start(run, by=person_of(request))
            return gettext("Run #%(number)s works as a shadow.") % {"number": run.pk}

        said = [
            gettext("At work now: %(run)s.") % {"run": f"#{at_work.run_id}" if at_work is not None else "–"},
            gettext(
                "It is asked the same live texts. Nobody meets its answers: they are counted, and kept where the two "
                "differ, with personal data masked."
            ),
        ]
        if active is not None and active.run_id != run.pk:
            said.append(gettext("It takes the place of run #%(number)s.") % {"number": active.run_id})
        return self.confirmed_step(
            request,
            run,
            step=step,
            question=gettext("Let run #%(number)s of “%(task)s” work as a shadow?")
            % {"number": run.pk, "task": run.task},
            consequences=said,
            submit=gettext("Start the shadow"),
        )

    @action(description=_("Stop the shadow"), url_path="stop-shadow", permissions=["deploy"], icon="stop_circle")
    def stop_shadow(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """End the run's time as a shadow; what it said is kept."""
        run: Run = self.found(request, object_id)

        def step() -> str:
            active = shadow.current(run.task.name)
            if active is None or active.run_id != run.pk:
                return gettext("Run #%(number)s works as a shadow no more.") % {"number": run.pk}
            ended = shadow.stop(run.task, by=person_of(request))
            return gettext("The shadow has ended: %(agreed)s texts alike, %(disagreed)s not.") % {
                "agreed": f"{ended.agreed:,}",
                "disagreed": f"{ended.disagreed:,}",
            }

        return self.confirmed_step(
            request,
            run,
            step=step,
            question=gettext("End the shadow of run #%(number)s?") % {"number": run.pk},
            consequences=[gettext("What it said so far is kept.")],
            submit=gettext("Stop the shadow"),
        )
