"""What people train, small: the set that the closed loop may be tuned on. `deciding` has the same kinds."""
from kinds import images, tabular, text


class GPT(text.CharGPT):
    name, letters = "gpt_a_to_m", "abcdefghijklm"


class ResNet(images.Digits):
    name = "resnet_digits"


ALL = [GPT, ResNet, *tabular.of_all_lengths(tabular.Classes, "mlp_classes")]
