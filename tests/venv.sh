#!/bin/bash
# A Python environment with what a list names: tests/venv.sh FOLDER REQUIREMENTS
#
# Made once, and anew where the list has changed. Needs python3, and installs its module venv where it is missing.
set -euo pipefail
folder=$1
requirements=$2
cmp --silent "$requirements" "$folder/requirements.txt" && exit
rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
if ! python3 -m venv "$folder" 2>/dev/null; then
    rm -rf "$folder"
    apt-get update && apt-get install --yes --no-install-recommends python3-venv
    python3 -m venv "$folder"
fi
"$folder/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements"
cp "$requirements" "$folder/requirements.txt"
