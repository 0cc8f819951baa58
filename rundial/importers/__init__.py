"""Runs from elsewhere into Rundial: other loggers' files, and what :mod:`rundial.exports` wrote."""
