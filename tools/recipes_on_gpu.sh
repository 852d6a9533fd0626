#!/usr/bin/env bash
# The studies of the three recipes in full, on a GPU: 59 and 79 % of the parameters gone in
# VGG-16-BN by prune-then-distill, 50 and 75 % in ResNet-56 by epsd, 70 % by sdp.
#
#   tools/recipes_on_gpu.sh IMAGES [options of benchmarks.studies.recipes]
#
# IMAGES holds train/, folders of classes (CIFAR-10 or CIFAR-100 as unpacked, 50,000 pictures); the
# last 10,000 are held out. Cells that were measured are not made again. SEEDS is 3, DEVICE is cuda,
# RECIPES those three, BIN .venv/bin, PAGE docs/studies.md. A page holds one study of a recipe: each
# share has its own, the last one of a recipe stands in PAGE.
set -euo pipefail
images=$(realpath "${1:?the folder of images, with train/}")
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bin=${BIN:-.venv/bin}
out=runs/recipes-gpu
page=${PAGE:-docs/studies.md}
read -ra recipes <<< "${RECIPES:-prune-then-distill epsd sdp}"

study() {  # recipe, network, share, page, options
  local recipe=$1 network=$2 sparsity=$3 to=$4
  shift 4
  mkdir -p "$out"
  "$bin/python" -m benchmarks.studies.recipes --recipe "$recipe" --data "$images" \
    --network "$network" --sparsity "$sparsity" --seeds "${SEEDS:-3}" \
    --device "${DEVICE:-cuda}" --out "$out" --page "$to" "$@"
}

for recipe in "${recipes[@]}"; do
  case $recipe in
    # teachers and students 60 passes, rounds of 15; the published weight and temperature
    prune-then-distill)
      study "$recipe" vgg16_bn 0.79 "$out/$recipe-0.79.md" --epochs 60 --alpha 0.95 \
        --temperature 10 "$@"
      study "$recipe" vgg16_bn 0.59 "$page" --epochs 60 --alpha 0.95 --temperature 10 "$@" ;;
    epsd)
      study "$recipe" resnet56 0.75 "$out/$recipe-0.75.md" --epochs 50 "$@"
      study "$recipe" resnet56 0.5 "$page" --epochs 50 "$@" ;;
    # 10 steps of 2 passes and 20 at the end
    sdp) study "$recipe" resnet56 0.7 "$page" --epochs 40 --steps 10 "$@" ;;
    *) echo "error: RECIPES $recipe: not one of prune-then-distill, epsd, sdp" >&2; exit 2 ;;
  esac
done
