"""Small residual networks on scikit-learn's digits: SGD with momentum, weight decay and augmentation."""
import sklearn.datasets
import torch
from torch import nn
from torch.nn import functional

from torch_engine import TorchClassifier


def digits():
    """-> images [1797, 1, 8, 8], and the digits."""
    d = sklearn.datasets.load_digits()
    return torch.as_tensor(d.images[:, None] / 16 - 0.3, dtype=torch.float32), torch.as_tensor(d.target)


class Residual(nn.Module):
    def __init__(self, i, o, stride=1):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(),
                                  nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o))
        self.short = nn.Identity() if (i, stride) == (o, 1) else nn.Conv2d(i, o, 1, stride, bias=False)

    def forward(self, x):
        return functional.relu(self.body(x) + self.short(x))


class Net(nn.Sequential):
    def __init__(self, width, classes):
        super().__init__(nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                         Residual(width, width), Residual(width, 2 * width, 2), Residual(2 * width, 2 * width),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, classes))


def shifted(x, random):
    """Each image moved by up to one pixel in each direction."""
    padded = functional.pad(x, (1, 1, 1, 1), value=-0.3)
    height, width = x.shape[2:]
    down, right = torch.randint(3, (2, len(x)), generator=random)
    rows = (down[:, None] + torch.arange(height))[:, None, :, None]
    columns = (right[:, None] + torch.arange(width))[:, None, None, :]
    image, channel = torch.arange(len(x))[:, None, None, None], torch.arange(x.shape[1])[None, :, None, None]
    return padded[image, channel, rows, columns]


class Digits(TorchClassifier):
    """Which digit it is."""

    T, opt, lr0, wd, rows = 600, "sgd", 0.1, 5e-4, 32

    def data(self):
        self.keep(*digits(), 797, 1)

    def batch(self):
        x, y = super().batch()
        return shifted(x, self.random), y

    def network(self):
        return Net(12, 10)


class Sums(Digits):
    """The sum of two digits side by side."""

    T, rows = 800, 24

    def data(self):
        x, y = digits()
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(5))
        self.x, self.y = x[order[700:]], y[order[700:]]
        pairs = torch.randint(350, (2, 600), generator=torch.Generator().manual_seed(6))
        # Digits that score are in no pair that steers.
        self.steering, self.scoring = (self.pairs(x[order[i:700:2]], y[order[i:700:2]], pairs) for i in (0, 1))

    def pairs(self, x, y, which):
        a, b = which
        return torch.cat((x[a], x[b]), 3), y[a] + y[b]

    def batch(self):
        x, y = self.pairs(self.x, self.y, torch.randint(len(self.x), (2, self.rows), generator=self.random))
        return shifted(x, self.random), y

    def network(self):
        return Net(12, 19)
