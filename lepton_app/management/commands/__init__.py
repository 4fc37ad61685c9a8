"""The commands of ``manage.py``, each described in ``docs/commands.md``."""
