"""The measurements of ``manage.py bench NAME``, one module for each name.

``encoder``    texts a second in torch, ONNX fp32 and ONNX int8, and how alike their rows are
``intents``    accuracy, calibration and out-of-scope detection of a classifier fitted on labelled utterances
``retrieval``  how well passages are ranked for questions

A module has ``add_arguments(parser)`` and ``run(options, progress) -> dict``: the dict is printed as one JSON object.
What is wrong with an input raises ``CommandError`` saying what, where, and how to mend it. ``_inputs`` reads files.
"""
