"""Label -> dataset -> train -> evaluate -> deploy -> roll back, for every classifier there is.

Pure:        ``features``, ``linear``, ``calibration``, ``scope``, ``metrics`` (mathematics over arrays),
             ``classifier`` (a trained classifier at work, without torch)
Operations:  ``labelling`` (samples and annotations), ``snapshots`` (freeze what a run learns from),
             ``runs`` (queue, claim, execute, recover), ``deployments`` (move the mark, roll back)
Tables:      ``models``; the staff's face: ``admin``; nudges: ``tasks``
"""
