"""Label -> dataset -> train -> evaluate -> gate -> deploy -> roll back, for every classifier there is.

Pure:        ``features``, ``linear``, ``calibration``, ``scope``, ``metrics``, ``paired``, ``curves`` (mathematics over
             arrays), ``splits`` (sides of texts), ``config`` (options of a run), ``datasets``, ``figures``,
             ``gate_checks`` and ``gate_values`` (values between the parts), ``classifier`` (at work, without torch)
Training:    ``training`` and ``tuning`` (the only ones that load torch, in the training worker)
Operations:  ``labelling`` and ``importing`` (samples and annotations), ``snapshots`` (freeze what a run learns from),
             ``runs`` (request, execute, cancel, recover) with ``bases`` (which run another may start from), ``claims``
             (who works on a run), ``progress`` and ``trackers`` (how far it is), ``workspaces`` (checkpoints);
             ``evaluation``, ``report_page`` and ``cards`` (what came out), ``gate`` (whether it may go to work),
             ``deployments`` (move the mark, roll back), ``serving`` and ``model`` (at work), ``shadow`` (beside it),
             ``shipped`` (a model in the box)
Tables:      ``models``; the staff's face: ``admin`` and ``reports``; nudges: ``tasks``
"""
