"""Labelled texts out of a CSV file: ``text,label`` and, where texts name several things, ``entity``."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from django.utils.translation import gettext

from lepton_app.learning.errors import FileUnreadable
from lepton_app.learning.labelling import Labelled

TEXT, LABEL, ENTITY = "text", "label", "entity"


def read_csv(path: Path) -> list[Labelled]:
    """Return the rows of a CSV in UTF-8 with a header; an empty label says that the text belongs to none.

    Other columns are ignored. Raises ``FileUnreadable``, which names the line.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise FileUnreadable(
            gettext("%(path)s cannot be read: %(problem)s.") % {"path": path, "problem": error.strerror}
        ) from None
    except UnicodeDecodeError:
        raise FileUnreadable(gettext("%(path)s is not UTF-8; save it as UTF-8.") % {"path": path}) from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        missing = [name for name in (TEXT, LABEL) if name not in (reader.fieldnames or [])]
        if missing:
            raise FileUnreadable(
                gettext("%(path)s has no column %(missing)s. Its first line names the columns: text,label[,entity].")
                % {"path": path, "missing": ", ".join(missing)}
            )
        rows = []
        for row in reader:
            said = (row[TEXT] or "").strip()
            if not said or row[LABEL] is None:
                raise FileUnreadable(
                    gettext("%(path)s, line %(line)s: a text and a label are expected.")
                    % {"path": path, "line": reader.line_num}
                )
            rows.append(Labelled(said, row[LABEL].strip() or None, (row.get(ENTITY) or "").strip()))
    except csv.Error as error:
        raise FileUnreadable(
            gettext("%(path)s, line %(line)s: %(problem)s. Quote cells that hold commas or quotes.")
            % {"path": path, "line": reader.reader.line_num, "problem": error}
        ) from None
    if not rows:
        raise FileUnreadable(gettext("%(path)s has a header and no rows.") % {"path": path})
    return rows
