"""The set that decides: the kinds of `tuning` with other data and sizes. Nothing may be tuned on it."""
from kinds import images, tabular, text


class GPT(text.CharGPT):
    name, letters, T = "gpt_n_to_z", "nopqrstuvwxyz", 700
    width, depth, context, rows = 128, 2, 48, 8


class ResNet(images.Sums):
    name = "resnet_sums"


ALL = [GPT, ResNet, *tabular.of_all_lengths(tabular.Price, "mlp_price")]
