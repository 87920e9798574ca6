"""Training workloads over PyTorch, in the interface of engine.py.

A subclass defines data(), network(), batch() and loss(model, batch), and val(model, rows); rows are what data() puts in
`self.steering` and `self.scoring`. The optimizer is AdamW, or SGD with Nesterov's momentum.
"""
import copy
import math

import torch

# The value that stands for a validation loss that is not finite.
BAD = 1e30
EVALUATIONS = 40


class TorchWorkload:
    name = "?"
    T = 600
    lr0 = 3e-3  # centre of the grid of the tuned rates
    opt = "adamw"  # or "sgd"
    wd = 0.01
    betas = (0.9, 0.99)
    max_norm = None  # a clip bound of the workload itself
    accumulate = 1  # batches a step
    # How anchors.py tunes it: shapes of schedules, and powers of ten by which lr0 is multiplied.
    shapes, grid = ("const", "cosine", "wsd", "linear"), (-1.0, -0.5, 0.0, 0.5, 1.0)

    def __init__(self):
        torch.set_num_threads(1)
        self.eval_every = max(1, self.T // EVALUATIONS)
        self.data()

    # --- what a subclass may define

    def optimizer(self, parameters):
        """The optimizer of the workload itself; its rate is set at each step."""
        if self.opt == "sgd":
            return torch.optim.SGD(parameters, lr=0.0, momentum=0.9, nesterov=True, weight_decay=self.wd)
        return torch.optim.AdamW(parameters, lr=0.0, betas=self.betas, weight_decay=self.wd)

    def reported(self, losses):
        """The loss that the trainer reports, from those of its batches."""
        return sum(losses) / len(losses)

    # --- step by step

    def init(self, seed, optimizer=None):
        """Starts a run; `optimizer(workload, parameters)` makes another optimizer than the workload's own."""
        torch.manual_seed(seed)
        self.random = torch.Generator().manual_seed(seed + 1)
        self.model = self.network()
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.parameters = parameters
        self.optim = optimizer(self, parameters) if optimizer else self.optimizer(parameters)
        self.training(True)

    def step(self, lr, gscale=1.0, clip=math.inf, skip_above=math.inf):
        for group in self.optim.param_groups:
            group["lr"] = lr
        self.optim.zero_grad()
        losses = []
        for _ in range(self.accumulate):
            loss = self.loss(self.model, self.batch())
            (loss / self.accumulate).backward()
            losses.append(float(loss.detach()))
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if gscale != 1.0:
            torch._foreach_mul_(gradients, gscale)
        norm = float(torch.nn.utils.get_total_norm(gradients))
        loss = self.reported(losses)
        if math.isfinite(loss) and math.isfinite(norm) and norm <= skip_above:
            bound = min(clip, self.max_norm or math.inf)
            if norm > bound:
                torch._foreach_mul_(gradients, bound / (norm + 1e-12))
            self.optim.step()
        return loss, norm, {}

    def eval(self):
        """The validation loss that a controller may see."""
        return self.validation(self.steering)

    def score(self):
        """The validation loss on rows that no controller and no tuner sees."""
        return self.validation(self.scoring)

    def validation(self, rows):
        self.training(False)
        with torch.no_grad():
            value = float(self.val(self.model, rows))
        self.training(True)
        return value if math.isfinite(value) else BAD

    def training(self, is_training):
        """Switches layers, and the optimizers that evaluate at other weights than they train at."""
        self.model.train(is_training)
        switch = getattr(self.optim, "train" if is_training else "eval", None)
        if switch:
            switch()
        if switch and not is_training:
            self.refresh_statistics()

    def refresh_statistics(self, batches=50):
        """Brings batch norms' running statistics to the weights at which the optimizer evaluates."""
        if not any(name.endswith("running_mean") for name, _ in self.model.named_buffers()):
            return
        random, self.random = self.random, torch.Generator().manual_seed(0)
        self.model.train()
        with torch.no_grad():
            for _ in range(batches):
                self.loss(self.model, self.batch())
        self.model.eval()
        self.random = random

    def snapshot(self):
        return copy.deepcopy((self.model.state_dict(), self.optim.state_dict()))

    def restore(self, snapshot):
        """Restores parameters and optimizer state; the data go on from where they are."""
        self.model.load_state_dict(snapshot[0])
        self.optim.load_state_dict(snapshot[1])

    # --- a whole run

    def run_open(self, seed, rates, optimizer=None):
        """-> losses [T], the steering validation losses [T / eval_every], and the scoring one of the end [1]."""
        self.init(seed, optimizer)
        losses, steering = [], []
        for k, rate in enumerate(rates):
            losses.append(self.step(float(rate))[0])
            if (k + 1) % self.eval_every == 0:
                steering.append(self.eval())
        return losses, steering, [self.score()]


class TorchClassifier(TorchWorkload):
    """A classifier: a subclass defines data(), which calls keep() or sets the same attributes, and network()."""

    rows = 32

    def keep(self, x, y, n_val, seed):
        """Splits off the validation rows: every second one steers, the others score."""
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        x, y = torch.as_tensor(x, dtype=torch.float32)[order], torch.as_tensor(y)[order]
        self.x, self.y = x[n_val:], y[n_val:]
        self.steering, self.scoring = ((x[i:n_val:2], y[i:n_val:2]) for i in (0, 1))

    def batch(self):
        rows = torch.randint(len(self.x), (self.rows,), generator=self.random)
        return self.x[rows], self.y[rows]

    def loss(self, model, batch):
        return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])

    val = loss
