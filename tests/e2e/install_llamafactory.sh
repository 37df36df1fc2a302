#!/usr/bin/env bash
# Installs a LLaMA-Factory that trains on a CPU (about 1.4 GB) into a virtual environment.
# The package's own requirements pull CUDA builds of torchvision and torchaudio, which break beside
# a CPU torch; so it is installed without them, with what a text training really imports.
# usage: install_llamafactory.sh VENV
set -euo pipefail
venv=${1:?folder for the virtual environment}
torch=${LLAMAVET_E2E_TORCH:-torch==2.13.0}
python3 -m venv "$venv"
pip=("$venv/bin/pip" install -q --disable-pip-version-check)
"${pip[@]}" "$torch" transformers==5.6.0 accelerate==1.11.0 peft==0.18.1 trl==0.24.0 \
  datasets==4.0.0 omegaconf pillow pyyaml tyro fire psutil sentencepiece tiktoken einops \
  matplotlib pandas
"${pip[@]}" --no-deps llamafactory==0.9.5
# torchaudio is imported whatever the task is, and not used for text.
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
mkdir -p "$site/torchaudio"
echo '__version__ = "0.0.0"' > "$site/torchaudio/__init__.py"
HF_HUB_OFFLINE=1 "$venv/bin/python" -c 'import llamafactory.train.tuner, llamafactory.launcher'
