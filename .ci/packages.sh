# shellcheck shell=bash
# Packages from PyPI, for .ci/run and the end-to-end scripts. Each group has a folder of its own: with --target, pip
# replaces the `bin` of a folder that is there, and what another call has put into it is gone.

# python_install FOLDER PACKAGE…: from PyPI into FOLDER. Nothing of the system changes: no virtual environment is needed,
# and a Python that the system marks as its own (PEP 668) allows it.
python_install() {
  local folder=$1
  shift
  if ! python3 -m pip --version >/dev/null 2>&1; then
    echo "pip is missing: apt-get install python3-pip"
    return 1
  fi
  mkdir -p "$folder"
  timeout 120 python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --upgrade \
    --target "$folder" "$@" 2>&1
}
