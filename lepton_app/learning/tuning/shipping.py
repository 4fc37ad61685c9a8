"""A shipped adapter merged into its encoder and exported, with the adapter beside it as for any tuned encoder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lepton_app.learning.model import SERVED_PRECISION
from lepton_app.learning.tuning.adapters import ADAPTER_FOLDER
from lepton_app.learning.tuning.encoders import load_encoder
from lepton_app.learning.tuning.exporting import TunedHead, write_merged
from lepton_app.lib.encoder_export import Tuned, export_encoder

if TYPE_CHECKING:
    from lepton_app.learning.shipped import Shipped


def export_shipped(shipped: Shipped, root: Path, *, progress: Callable[[str], None]) -> Path:
    """Publish the encoder of a shipped model under ``root`` and return its folder.

    Its adapter can be gone on from by a warm start, as a run's own. Raises ``ExportError`` and ``BaseUnusable``.
    """
    from lepton_app.learning.shipped import ADAPTER_CONFIG, ADAPTER_WEIGHTS, CARD_FILE

    # The adapter belongs to the wheel's encoder, whatever the installation uses otherwise.
    encoder = load_encoder(None, max_length=shipped.max_length, lineage=(shipped.folder,))
    head = TunedHead(shipped.head.labels, shipped.head.weight, shipped.head.bias)

    def write(folder: Path) -> None:
        beside = folder / ADAPTER_FOLDER
        beside.mkdir()
        for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS, CARD_FILE):
            shutil.copyfile(shipped.folder / name, beside / name)
        head.write(beside)

    with tempfile.TemporaryDirectory(prefix="shipped-") as scratch:
        write_merged(encoder, Path(scratch))
        tuned = Tuned(
            name=f"shipped-{shipped.folder.name}",
            source=shipped.source,
            measure=lambda _: {SERVED_PRECISION: shipped.precision, "lineage": 0, "adapter": ADAPTER_FOLDER},
            write=write,
        )
        return export_encoder(Path(scratch), root, progress=progress, tuned=tuned)
