#!/bin/sh
# Print the name of a Python that is at least 3.11, or nothing. A version manager's shim may exist and not run.
for name in python3 python3.13 python3.12 python3.11; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "$name"
        exit 0
    fi
done
