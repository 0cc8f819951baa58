"""Doors for scripts written for other loggers: swap the import, and what they log comes to Rundial.

Each module is a page of names over :class:`rundial.Run`. See ``docs/compat.md``.
"""
