"""torchvision: every classification, segmentation and video model, by its own name.

Pictures are 64 pixels wide where the network is convolutional, and as published where its tokens or
windows are of a fixed number (96 for Inception v3, whose stem takes no less).  Clips have 4 frames,
and 16 of 224 pixels where the network is made for that (MViT's tokens, the last pooling of S3D).
"""

from __future__ import annotations

from benchmarks.studies.networks.rows import Network, Option

# name, picture size, millions of parameters
_CLASSIFICATION = (
    ("alexnet", 64, 61.1),
    ("convnext_base", 64, 88.6),
    ("convnext_large", 64, 197.8),
    ("convnext_small", 64, 50.2),
    ("convnext_tiny", 64, 28.6),
    ("densenet121", 64, 8.0),
    ("densenet161", 64, 28.7),
    ("densenet169", 64, 14.1),
    ("densenet201", 64, 20.0),
    ("efficientnet_b0", 64, 5.3),
    ("efficientnet_b1", 64, 7.8),
    ("efficientnet_b2", 64, 9.1),
    ("efficientnet_b3", 64, 12.2),
    ("efficientnet_b4", 64, 19.3),
    ("efficientnet_b5", 64, 30.4),
    ("efficientnet_b6", 64, 43.0),
    ("efficientnet_b7", 64, 66.3),
    ("efficientnet_v2_l", 64, 118.5),
    ("efficientnet_v2_m", 64, 54.1),
    ("efficientnet_v2_s", 64, 21.5),
    ("googlenet", 64, 13.0),
    ("inception_v3", 96, 27.2),
    ("maxvit_t", 224, 30.9),
    ("mnasnet0_5", 64, 2.2),
    ("mnasnet0_75", 64, 3.2),
    ("mnasnet1_0", 64, 4.4),
    ("mnasnet1_3", 64, 6.3),
    ("mobilenet_v2", 64, 3.5),
    ("mobilenet_v3_large", 64, 5.5),
    ("mobilenet_v3_small", 64, 2.5),
    ("regnet_x_16gf", 64, 54.3),
    ("regnet_x_1_6gf", 64, 9.2),
    ("regnet_x_32gf", 64, 107.8),
    ("regnet_x_3_2gf", 64, 15.3),
    ("regnet_x_400mf", 64, 5.5),
    ("regnet_x_800mf", 64, 7.3),
    ("regnet_x_8gf", 64, 39.6),
    ("regnet_y_128gf", 64, 644.8),
    ("regnet_y_16gf", 64, 83.6),
    ("regnet_y_1_6gf", 64, 11.2),
    ("regnet_y_32gf", 64, 145.0),
    ("regnet_y_3_2gf", 64, 19.4),
    ("regnet_y_400mf", 64, 4.3),
    ("regnet_y_800mf", 64, 6.4),
    ("regnet_y_8gf", 64, 39.4),
    ("resnet101", 64, 44.5),
    ("resnet152", 64, 60.2),
    ("resnet18", 64, 11.7),
    ("resnet34", 64, 21.8),
    ("resnet50", 64, 25.6),
    ("resnext101_32x8d", 64, 88.8),
    ("resnext101_64x4d", 64, 83.5),
    ("resnext50_32x4d", 64, 25.0),
    ("shufflenet_v2_x0_5", 64, 1.4),
    ("shufflenet_v2_x1_0", 64, 2.3),
    ("shufflenet_v2_x1_5", 64, 3.5),
    ("shufflenet_v2_x2_0", 64, 7.4),
    ("squeezenet1_0", 64, 1.2),
    ("squeezenet1_1", 64, 1.2),
    ("swin_b", 224, 87.8),
    ("swin_s", 224, 49.6),
    ("swin_t", 224, 28.3),
    ("swin_v2_b", 256, 87.9),
    ("swin_v2_s", 256, 49.7),
    ("swin_v2_t", 256, 28.4),
    ("vgg11", 64, 132.9),
    ("vgg11_bn", 64, 132.9),
    ("vgg13", 64, 133.0),
    ("vgg13_bn", 64, 133.1),
    ("vgg16", 64, 138.4),
    ("vgg16_bn", 64, 138.4),
    ("vgg19", 64, 143.7),
    ("vgg19_bn", 64, 143.7),
    ("vit_b_16", 224, 86.6),
    ("vit_b_32", 224, 88.2),
    ("vit_h_14", 224, 632.0),
    ("vit_l_16", 224, 304.3),
    ("vit_l_32", 224, 306.5),
    ("wide_resnet101_2", 64, 126.9),
    ("wide_resnet50_2", 64, 68.9),
)
_SEGMENTATION = (
    ("deeplabv3_mobilenet_v3_large", 64, 11.0),
    ("deeplabv3_resnet101", 64, 58.6),
    ("deeplabv3_resnet50", 64, 39.6),
    ("fcn_resnet101", 64, 51.9),
    ("fcn_resnet50", 64, 33.0),
    ("lraspp_mobilenet_v3_large", 64, 3.2),
)
# name, frames, picture size, millions of parameters
_VIDEO = (
    ("mc3_18", 4, 64, 11.7),
    ("mvit_v1_b", 16, 224, 36.6),
    ("mvit_v2_s", 16, 224, 34.5),
    ("r2plus1d_18", 4, 64, 31.5),
    ("r3d_18", 4, 64, 33.4),
    ("s3d", 16, 224, 8.3),
    ("swin3d_b", 4, 112, 88.0),
    ("swin3d_s", 4, 112, 49.8),
    ("swin3d_t", 4, 112, 28.2),
)


def _options(name: str) -> tuple[tuple[str, Option], ...]:
    if name in ("googlenet", "inception_v3"):
        return (("init_weights", False),)  # theirs is slow and not wanted
    return ()


TORCHVISION: tuple[Network, ...] = (
    *(
        Network(
            library="torchvision",
            factory=name,
            shape=(3, size, size),
            millions=millions,
            options=_options(name),
        )
        for name, size, millions in _CLASSIFICATION
    ),
    *(
        Network(
            library="torchvision",
            factory=name,
            shape=(3, size, size),
            millions=millions,
            options=(("weights_backbone", None),),
        )
        for name, size, millions in _SEGMENTATION
    ),
    *(
        Network(
            library="torchvision",
            factory=name,
            shape=(3, frames, size, size),
            millions=millions,
        )
        for name, frames, size, millions in _VIDEO
    ),
)
