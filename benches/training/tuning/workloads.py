"""What people train, small: the set that the closed loop may be tuned on. `deciding` has the same kinds."""
from kinds import adapted, images, moving, tabular, text


class GPT(text.CharGPT):
    name, letters = "gpt_a_to_m", "abcdefghijklm"


class ResNet(images.Digits):
    name = "resnet_digits"


class FineTuning(adapted.Prose):
    name = "finetune_prose"


class GAN(moving.GAN):
    name = "gan_ring"


class Reinforce(moving.Bandit):
    name = "reinforce_digits"


class Accumulation(tabular.Accumulating, tabular.Classes):
    name, rows = "accumulate_classes", 16


class HalfPrecision(tabular.HalfPrecision, tabular.Classes):
    name = "bf16_classes"


ALL = [GPT, ResNet, *tabular.of_all_lengths(tabular.Classes, "mlp_classes"), FineTuning, GAN, Reinforce, Accumulation,
       HalfPrecision]
