"""The HTTP routes, one file per noun; ``docs/http.md`` is their specification."""
