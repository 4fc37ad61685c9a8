"""Adapting an encoder to labels: the one part of learning that loads torch, in the training worker alone.

``encoders``     an encoder in torch: texts in, unit rows out; earlier adapters merged into it
``adapters``     LoRA, AdaLoRA, IA3, soft prompt or all weights around it, with the number of trainable parameters
``batches``      texts of like length together, or several texts of each of a few labels
``losses``       classification, supervised contrastive, consistency
``loop``         steps, schedule, checkpoints, early stopping, reports
``pretraining``  masked language modelling on texts without labels
``pruning``      fewer layers, distilled from all of them
``exporting``    merged, to ONNX, with the adapter in PEFT's own format beside it
"""
