#!/usr/bin/env bash
# The study against torch-pruning in full, on a GPU: ResNet-56, VGG-16-BN and MobileNetV2 in CIFAR
# form, teachers trained from fresh weights on the first 40,000 images, tests on the other 10,000.
# Cut to 2, 2.57, 3.3 and 5 times fewer MACs; 2.57 is where figures are published.
#
#   tools/peers_on_gpu.sh IMAGES [options of benchmarks.studies.peers]
#
# IMAGES holds train/ (the 40,000) and val/ (the 10,000), folders of classes. What is there is not
# made again: teachers that were trained, cells that were measured. EPOCHS (200) trains a teacher,
# PASSES (40) a student, SEEDS is 3, DEVICE is cuda, NETWORKS those three, BIN .venv/bin.
set -euo pipefail
images=$(realpath "${1:?the folder of images, with train/ and val/}")
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bin=${BIN:-.venv/bin}
device=${DEVICE:-cuda}
out=runs/peers-gpu
read -ra networks <<< "${NETWORKS:-resnet56 vgg16_bn mobilenet_v2}"

mkdir -p "$out/cifar10"
ln -sfn "$images/train" "$out/cifar10/train"
ln -sfn "$images/val" "$out/cifar10/test"  # nothing is chosen on it

teachers=()
for network in "${networks[@]}"; do
  file=$out/teachers/$network.pt
  test -e "$file" || "$bin/compressor" train \
    --arch "benchmarks/studies/networks/cifar.py:$network" --data "$out/cifar10" \
    --epochs "${EPOCHS:-200}" --image-size 32 --seed 0 --device "$device" --out "$file"
  teachers+=("$network=$file")
done

# 36,000 images train and 4,000 choose the weights: the split that the teachers had.
"$bin/python" -m benchmarks.studies.peers --data "$out/cifar10" --networks "${networks[@]}" \
  --teacher "${teachers[@]}" --sparsity 0.5 0.611 0.7 0.8 --of macs --seeds "${SEEDS:-3}" \
  --epochs "${PASSES:-40}" --train-images 36000 --validation-images 4000 --sample 2048 \
  --device "$device" --out "$out/cells" "$@"
