"""The set that decides: the kinds of `tuning` with other data and sizes. Nothing may be tuned on it."""
from kinds import adapted, images, moving, tabular, text


class GPT(text.CharGPT):
    name, letters, T = "gpt_n_to_z", "nopqrstuvwxyz", 700
    width, depth, context, rows = 128, 2, 40, 6


class ResNet(images.Sums):
    name = "resnet_sums"


class FineTuning(adapted.Negatives):
    name = "finetune_negatives"


class GAN(moving.MoonsGAN):
    name = "gan_moons"


class Reinforce(moving.TableBandit):
    name = "reinforce_table"


class Accumulation(tabular.Accumulating, tabular.Price):
    name, rows = "accumulate_price", 12


class HalfPrecision(tabular.HalfPrecision, tabular.Price):
    name = "bf16_price"


ALL = [GPT, ResNet, *tabular.of_all_lengths(tabular.Price, "mlp_price"), FineTuning, GAN, Reinforce, Accumulation,
       HalfPrecision]
