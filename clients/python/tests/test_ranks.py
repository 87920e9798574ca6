"""Two and three gloo ranks: what is done to an update is done on all of them, and no rank waits for one that is elsewhere."""

import json
import math

import pytest

from processes import run
from server import wait_for

HEAD = """
import json, math, os, sys
import torch, torch.distributed as dist, torch.multiprocessing as mp
import lrs.guard, lrs.joint_norm, lrs.link, lrs.torch
from torch.nn.parallel import DistributedDataParallel as DDP

lrs.link.TICK = 0.01
torch.set_num_threads(1)
job, server, out, world = sys.argv[1:4] + [int(sys.argv[4])]

def spawn(train):
    mp.start_processes(start, args=(train,), nprocs=world, start_method="fork")

def start(rank, train):
    # The ranks find each other through a file: another program could take a port.
    dist.init_process_group("gloo", init_method=f"file://{out}/ranks", rank=rank, world_size=world)
    torch.manual_seed(0)
    said = train(rank)
    with open(f"{out}/{rank}.json", "w") as file:
        json.dump(said, file)
    dist.barrier()
    dist.destroy_process_group()

def scheduler_of(optimizer, **options):
    options = {"total_steps": 100, "deadline": 20.0, "close_timeout": 20.0, "tier": 1} | options
    return lrs.torch.LRScheduler(optimizer, job, server=server, **options)
"""

LOCAL_STATE = """
def train(rank):
    model = DDP(torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    scheduler = scheduler_of(optimizer, schedule={"linear": {}})
    states = []
    for step in range(6):
        optimizer.zero_grad()
        loss = model(torch.ones(2, 4)).square().mean()
        loss.backward()
        if scheduler.guard(loss):
            optimizer.step()
        scheduler.step(loss)
        if rank == step % world:
            torch.save({"scheduler": scheduler.state_dict()}, f"{out}/checkpoint-{step}")
    dist.barrier()
    saved = [torch.load(f"{out}/checkpoint-{step}")["scheduler"] for step in range(6)]
    mine = scheduler.state_dict()
    scheduler.close()
    again = scheduler_of(optimizer)
    again.load_state_dict(saved[3])
    at = again.state_dict()
    again.close()
    return {"saved": saved, "mine": mine, "at": at}

spawn(train)
"""

NAN = """
def train(rank):
    torch.manual_seed(rank)
    model = DDP(torch.nn.Linear(4, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    scheduler = scheduler_of(optimizer)
    made, finite = [], []
    for step in range(6):
        optimizer.zero_grad()
        labels = torch.zeros(2, dtype=torch.long)
        if step == 2 and rank == world - 1:
            labels.fill_(-100)  # a batch whose labels are all ignored has a NaN loss, and no gradient
        logits = model(torch.randn(2, 4))
        loss = torch.nn.functional.cross_entropy(logits, labels)
        loss.backward()
        if step == 4 and rank == 0:
            for parameter in model.parameters():
                parameter.grad[:] = math.nan  # this rank's memory is broken
        finite.append(math.isfinite(loss))
        makes = scheduler.guard(loss)
        made.append(makes)
        if makes:
            optimizer.step()
        scheduler.step(loss)
    scheduler.close()
    return {"made": made, "finite": finite, "weights": model.module.weight.tolist()}

spawn(train)
"""

SPREAD = """
from torch.distributed.fsdp import fully_shard
from torch.distributed.device_mesh import init_device_mesh

def whole():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8), torch.nn.Linear(8, 4))

def train(rank):
    x = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    reference = whole()
    reference(x).square().sum().backward()
    truth = float(torch.nn.utils.get_total_norm([p.grad for p in reference.parameters()]))
    norms, made = {}, {}
    for kind in ("ddp", "fsdp", "pipeline"):
        model = whole()
        if kind == "ddp":
            ddp = DDP(model)
            ddp(x).square().sum().backward()
            own = model
        elif kind == "fsdp":
            mesh = init_device_mesh("cpu", (world,))
            for layer in model:
                fully_shard(layer, mesh=mesh)
            fully_shard(model, mesh=mesh)
            model(x).square().sum().backward()
            own = model
        else:
            # Each rank has some of the layers and their gradients.
            model(x).square().sum().backward()
            own = torch.nn.ModuleList([layer for index, layer in enumerate(model) if index % world == rank])
        optimizer = torch.optim.SGD(own.parameters(), lr=0.05)
        scheduler = scheduler_of(optimizer)
        scheduler.begin()
        # The bound of the service, as every rank is told it.
        scheduler._directive = scheduler._directive._replace(clip_norm=truth / 2)
        made[kind] = [scheduler.guard(torch.tensor(1.0))]
        norms[kind] = [float(scheduler._norm), float(scheduler._norm_of(lrs.guard.gradients_of(optimizer)))]
        scheduler._directive = scheduler._directive._replace(clip_norm=None, skip_above_norm=truth / 4)
        made[kind].append(scheduler.guard(torch.tensor(1.0)))
        scheduler._directive = scheduler._directive._replace(skip_above_norm=None)
        if rank == world - 1:
            broken = next(p for p in own.parameters() if p.grad is not None)
            lrs.joint_norm.local_part(broken.grad).fill_(math.inf)
        made[kind].append(scheduler.guard(torch.tensor(1.0)))
        scheduler.close()
    return {"truth": truth, "norms": norms, "made": made}

spawn(train)
"""

GROWING = """
def train(rank):
    model = torch.nn.ModuleList([torch.nn.Linear(2, 1) for _ in range(40)])
    optimizer = torch.optim.SGD(model[0].parameters(), lr=0.1)
    scheduler = scheduler_of(optimizer, schedule={"linear": {}}, tier=0)
    rates = []
    for step in range(40):
        optimizer.step()
        rates.append([group["lr"] for group in optimizer.param_groups])
        scheduler.step(1.0)
        if step == 2:
            optimizer.add_param_group({"params": model[1].parameters(), "lr": 0.02})
        if step == 4:
            for layer in model[2:]:
                optimizer.add_param_group({"params": layer.parameters(), "lr": 0.01})
    for _ in range(2000):
        if len(scheduler._directive.rates) == 40:
            break
        optimizer.step()
        scheduler.step(1.0)
    state = scheduler.state_dict()
    last = [group["lr"] for group in optimizer.param_groups]
    scheduler.close()
    return {"rates": rates, "last": last, "told": list(scheduler._directive.rates)}

spawn(train)
"""

TRAINERS = """

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(1, 3)

    def forward(self, x, labels):
        return {"loss": torch.nn.functional.cross_entropy(self.layer(x), labels.view(-1))}

def data(rank):
    # Each rank has its own five batches; the third of rank 0 has labels that are all ignored.
    labels = [0, 1, -100 if rank == 0 else 2, 1, 0]
    return [{"x": torch.tensor([float(at)]), "labels": torch.tensor([label])} for at, label in enumerate(labels)]

def train(rank):
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world),
        MASTER_ADDR="localhost", MASTER_PORT="1", GROUP_RANK="0", NODE_RANK="0",
    )
    kind, batches = sys.argv[5], data(rank)
    options = dict(server=server, deadline=20.0, close_timeout=20.0)
    if kind == "accelerate":
        import accelerate, lrs.accelerate
        accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
        net = Net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        model, optimizer = accelerator.prepare(net, optimizer)
        scheduler = lrs.accelerate.LRScheduler(accelerator, optimizer, job, total_steps=100, tier=1, **options)
        for at, batch in enumerate(batches):
            accelerator.gradient_state._set_sync_gradients(at % 2 == 1 or at == 4)
            loss = model(batch["x"][None], batch["labels"])["loss"]
            accelerator.backward(loss)
            if scheduler.guard(loss):
                optimizer.step()
            scheduler.step(loss)
            optimizer.zero_grad()
        accelerator.save_state(f"{out}/state")
        scheduler.close()
    elif kind == "transformers":
        import transformers, lrs.transformers
        class Own(transformers.Trainer):
            def get_train_dataloader(self):
                return torch.utils.data.DataLoader(batches, batch_size=1)

        net = Net()
        arguments = transformers.TrainingArguments(
            output_dir=out, num_train_epochs=1, gradient_accumulation_steps=2, learning_rate=0.1, optim="sgd", use_cpu=True,
            lr_scheduler_type="constant", report_to=[], max_grad_norm=0.0, save_strategy="steps", save_steps=2,
            disable_tqdm=True, remove_unused_columns=False, ddp_backend="gloo",
        )
        callback = lrs.transformers.LrsCallback(job, **options)
        Own(model=net, args=arguments, train_dataset=batches, callbacks=[callback]).train()
    else:
        import lightning.pytorch as pl, lrs.lightning
        class Own(pl.LightningModule):
            def __init__(self):
                super().__init__()
                self.net = Net()

            def training_step(self, batch, index):
                return self.net(batch["x"], batch["labels"])["loss"]

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=0.1)

        os.environ["TORCHELASTIC_RUN_ID"] = f"{job}-run"
        module = Own()
        made = pl.Trainer(
            max_epochs=1, accelerator="cpu", devices=world, strategy="ddp", logger=False, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, accumulate_grad_batches=2, default_root_dir=out,
            callbacks=[lrs.lightning.LrsCallback(job, **options)], use_distributed_sampler=False,
        )
        made.fit(module, torch.utils.data.DataLoader(batches, batch_size=1))
        made.save_checkpoint(f"{out}/last.ckpt")
        net = module.net
    return {"weights": net.layer.weight.tolist()}

spawn(train)
"""


def said(program, server, job, tmp_path, world, *more):
    run(HEAD + program, job, server.url, str(tmp_path), str(world), *more, timeout=180)
    return [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(world)]


@pytest.mark.parametrize("world", [2, 3])
def test_a_state_is_saved_by_one_rank_alone(server, job, tmp_path, world):
    ranks = said(LOCAL_STATE, server, job, tmp_path, world)
    assert all(one == ranks[0] for one in ranks)
    saved = ranks[0]["saved"]
    assert [state["step"] for state in saved] == [1, 2, 3, 4, 5, 6]
    assert {state["attempt"] for state in saved} == {1}
    assert ranks[0]["mine"] == saved[-1]
    assert ranks[0]["at"]["step"] == 4
    assert [(one.attempt, one.resume_step) for one in server.attempts(job)] == [(1, 0), (2, 4)]


@pytest.mark.parametrize("world", [2, 3])
def test_a_loss_of_one_rank_decides_nothing_and_a_gradient_decides_for_all(server, job, tmp_path, world):
    ranks = said(NAN, server, job, tmp_path, world)
    assert [rank["finite"][2] for rank in ranks] == [True] * (world - 1) + [False]
    for rank in ranks:
        assert rank["made"] == [True, True, True, True, False, True]
        assert rank["weights"] == ranks[0]["weights"]
    assert server.record(job)["lrs_skipped"] == {4: 1.0}


@pytest.mark.parametrize("world", [2, 3])
def test_the_norm_is_that_of_the_whole_model_however_it_is_spread(server, job, tmp_path, world):
    ranks = said(SPREAD, server, job, tmp_path, world)
    truth = ranks[0]["truth"]
    for kind in ("ddp", "fsdp", "pipeline"):
        before, after = ranks[0]["norms"][kind]
        assert before == pytest.approx(truth, rel=1e-5), kind
        assert after == pytest.approx(truth / 2, rel=1e-4), kind
        for rank in ranks:
            assert rank["norms"][kind] == [before, after], "the same bits on all ranks"
            assert rank["made"][kind] == [True, False, False], kind


def test_groups_that_are_added_on_all_ranks_keep_the_ranks_together(server, job, tmp_path):
    ranks = said(GROWING, server, job, tmp_path, 2)
    assert ranks[0] == ranks[1]
    assert [len(rates) for rates in ranks[0]["rates"]][:6] == [1, 1, 1, 2, 2, 40]
    assert len(ranks[0]["told"]) == 40
    assert ranks[0]["last"] == ranks[0]["told"]
    names = [group.name for group in server.job(job).spec.groups]
    assert names == ["default"] + [f"group{index}" for index in range(1, 40)]
    assert not math.isnan(sum(ranks[0]["last"]))
    wait_for("the telemetry", lambda: len(server.record(job)["loss"]) >= 40)


@pytest.mark.parametrize("kind", ["accelerate", "transformers", "lightning"])
def test_the_ranks_of_a_trainer_stay_together(server, job, tmp_path, kind):
    ranks = said(TRAINERS, server, job, tmp_path, 2, kind)
    assert ranks[0] == ranks[1], "all ranks made the update of the batch whose labels one rank ignores"
    assert all(math.isfinite(weight) for row in ranks[0]["weights"] for weight in row)
    record = server.record(job)
    assert list(record["learning_rate"]) == [0, 1, 2]
    assert math.isnan(record["loss"][1])
    assert math.isfinite(record["loss"][0])
    assert math.isfinite(record["loss"][2])
    assert "lrs_skipped" not in record
    assert len(server.attempts(job)) == 1
