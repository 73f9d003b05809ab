# shellcheck shell=bash
# Packages from PyPI and npm, for .ci/run and the end-to-end scripts. Each group has its own folder, since pip with --target
# replaces the `bin` of an existing folder.

# python_install FOLDER PACKAGE…: installs into FOLDER. It needs no virtual environment, and an externally managed Python
# (PEP 668) allows it.
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

# npm_install FOLDER PACKAGE…: installs into FOLDER/node_modules. No script of a package runs.
npm_install() {
  local folder=$1
  shift
  mkdir -p "$folder"
  timeout 120 npm install --prefix "$folder" --ignore-scripts --no-audit --no-fund --no-save --loglevel=error "$@" 2>&1
}
