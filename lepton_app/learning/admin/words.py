"""The words of the page that begins a training: what each method is for, and what each option decides."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

# One sentence for each method: when to take it.
METHODS: dict[str, Promise] = {
    "head": _("Learns in seconds, on the encoder as it is. Take it first, and to see whether new labels help."),
    "contrastive": _("For few texts, about five to twenty for each label: brings texts of one label close together."),
    "lora": _("Adapts the encoder with small matrices; minutes to tens of minutes, and the best with many texts."),
    "adalora": _("As LoRA, and shares its capacity out to the layers that need it; a little slower."),
    "ia3": _("Learns only scales of the encoder's activations: very few parameters, less accurate than LoRA."),
    "prompt": _("Learns a few made-up words before each text and leaves the encoder alone: the fewest parameters."),
    "full": _("Changes every weight of the encoder: the slowest, and the likeliest to forget."),
    "pretrain": _("Reads the task's texts without their labels. It makes no classifier; later runs can start from it."),
}

# The options as the page groups them: a title, the methods that read them, and their names. An option that stands in
# no group is shown in the first one.
_TUNING = ("contrastive", "lora", "adalora", "ia3", "prompt", "full", "pretrain")
_LABELLED = ("contrastive", "lora", "adalora", "ia3", "prompt", "full")
GROUPS: tuple[tuple[Promise, tuple[str, ...], tuple[str, ...]], ...] = (
    (pgettext_lazy("training", "General"), ("head", *_TUNING), ("seed",)),
    (
        _("The head"),
        ("head", *_LABELLED),
        ("ngram_weight", "inverse_regularisation", "false_refusals"),
    ),
    (
        pgettext_lazy("training", "Learning"),
        _TUNING,
        (
            *("encoder", "learning_rate", "batch_size", "epochs", "optimiser", "weight_decay", "warm_up"),
            *("gradient_clip", "dropout", "averaging", "patience", "max_length", "precision"),
        ),
    ),
    (
        _("Learning labels"),
        _LABELLED,
        ("head_learning_rate", "label_smoothing", "class_weights", "consistency", "replay"),
    ),
    (_("The adapter"), ("contrastive", "lora", "adalora", "pretrain"), ("rank", "alpha", "adapter_dropout")),
    (_("Where the adapter sits"), ("contrastive", "lora", "adalora", "ia3", "pretrain"), ("targets",)),
    (_("AdaLoRA"), ("adalora",), ("initial_rank",)),
    (_("Soft prompt"), ("prompt",), ("prompt_tokens",)),
    (
        _("Contrast"),
        _LABELLED,
        (
            *("classification_weight", "contrastive_weight", "contrastive_temperature"),
            *("texts_per_label", "label_names"),
        ),
    ),
    (_("Pre-training"), ("pretrain",), ("masked_share",)),
    (_("A smaller encoder"), _LABELLED, ("layers", "distil_epochs")),
)

# The sentences of ``TrainingConfig``, here for the catalogue of translations; a test holds the two together.
OPTIONS: dict[str, Promise] = {
    "encoder": _("A folder or a hub name of the encoder to start from; empty takes the installation's encoder."),
    "seed": _("Decides order, dropout and every random start."),
    "optimiser": _("AdamW, or SGD with momentum 0.9."),
    "learning_rate": _("Highest learning rate of the adapter, per step."),
    "head_learning_rate": _("Highest learning rate of the head, per step."),
    "batch_size": _("Texts a step."),
    "epochs": _("Passes over the training texts at most."),
    "weight_decay": _("Decoupled L2 penalty on the trained weights, per step."),
    "dropout": _("Share of the encoder's activations dropped while learning."),
    "label_smoothing": _("Share of the target spread over the other labels."),
    "class_weights": _("Balanced gives each label the same weight in the loss, however many texts it has."),
    "warm_up": _("Share of all steps in which the learning rate rises."),
    "gradient_clip": _("Longest gradient, as a norm; 0 does not clip."),
    "patience": _("Epochs without a better validation accuracy before it stops; 0 never stops early."),
    "max_length": _("Longest text that is read, in tokens."),
    "precision": _("Arithmetic of the tuning; auto takes bf16 on processors that have it."),
    "averaging": _("Decay of the moving average of the trained weights, per step; 0 keeps the last."),
    "rank": _("Rank of LoRA's matrices; AdaLoRA ends at this average rank."),
    "initial_rank": _("Rank at which AdaLoRA starts."),
    "alpha": _("Scale of LoRA's update, divided by the rank."),
    "adapter_dropout": _("Share of the adapter's inputs dropped."),
    "targets": _("Which linear layers get an adapter: attention, query and value alone, or all."),
    "prompt_tokens": _("Length of the soft prompt, in tokens."),
    "classification_weight": _("Weight of the classification loss; 0 learns by contrast alone."),
    "contrastive_weight": _("Weight of the supervised contrastive loss beside the classification loss."),
    "contrastive_temperature": _("Temperature of the contrastive loss."),
    "texts_per_label": _("Texts of one label in a contrastive batch."),
    "label_names": _("Whether the own name of a label with few texts counts as one of them."),
    "consistency": _("Weight of agreement between two passes with dropout (R-drop)."),
    "masked_share": _("Share of tokens masked in pre-training."),
    "layers": _("Layers the tuned encoder keeps, distilled; 0 keeps all."),
    "distil_epochs": _("Passes of distillation after layers were dropped."),
    "ngram_weight": _("How much character n-grams count beside the encoder, times the usual weight."),
    "inverse_regularisation": _(
        "C of the final linear head: higher fits closer; 0 takes what does best on the validation texts."
    ),
    "false_refusals": _("Share of genuine texts that the out-of-scope threshold may turn away."),
    "replay": _("Share of old texts learnt again when a run starts from an earlier one."),
}
