"""JAX and optax, on the CPU."""

import jax
import jax.numpy as jnp
import optax
import pytest

import lrs
import lrs.jax
from fake_service import FakeService

X = jax.random.normal(jax.random.key(0), (32, 4))
Y = X.sum(axis=1, keepdims=True)


def loss_of(params, x, y):
    return jnp.mean((x @ params["w"] - y) ** 2)


def start():
    return {"w": jnp.zeros((4, 1))}


def make(server, job, **more):
    options = {"server": server.url, "groups": 0.1, "total_steps": 50, "deadline": 20.0} | more
    return lrs.jax.Scheduler(job, **options)


def test_injected_rates_are_those_of_the_service(server, job):
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=1.0)

    @jax.jit
    def update(params, opt_state):
        loss, gradients = jax.value_and_grad(loss_of)(params, X, Y)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    params = start()
    with make(server, job, schedule={"linear": {}}) as scheduler:
        opt_state = scheduler.begin(optimizer.init(params))
        used = []
        for _ in range(50):
            used.append(float(opt_state.hyperparams["learning_rate"]))
            params, opt_state, loss = update(params, opt_state)
            opt_state = scheduler.update(opt_state, loss)
        assert scheduler.decision_lag == 8
        assert update._cache_size() == 1, "a change of rate compiles nothing"
    assert used == pytest.approx([0.1 * (1 - step / 50) for step in range(50)], rel=1e-6)
    losses = server.record(job)["loss"]
    assert len(losses) == 50
    assert losses[49] < 0.01 * losses[0]


def test_a_pure_function_is_given_its_rate(server, job):
    optimizer = optax.chain(optax.scale_by_adam(), lrs.jax.scale_by_told_rate())

    @jax.jit
    def update(params, opt_state, rate):
        gradients = jax.grad(loss_of)(params, X, Y)
        updates, opt_state = optimizer.update(gradients, opt_state, params, learning_rate=rate)
        return optax.apply_updates(params, updates), opt_state

    with make(server, job, schedule={"linear": {}}) as scheduler:
        params, twin_params = start(), start()
        opt_state = optimizer.init(params)
        twin = optax.adam(lambda step: 0.1 * (1 - step / 50))
        twin_state = twin.init(twin_params)
        for _ in range(20):
            params, opt_state = update(params, opt_state, scheduler.learning_rate)
            scheduler.step()
            updates, twin_state = twin.update(jax.grad(loss_of)(twin_params, X, Y), twin_state)
            twin_params = optax.apply_updates(twin_params, updates)
        assert jnp.allclose(params["w"], twin_params["w"], rtol=1e-5)


def test_groups_are_the_labels_of_a_multi_transform(server, job):
    sgd = optax.inject_hyperparams(optax.sgd)
    optimizer = optax.multi_transform(
        {"body": sgd(learning_rate=1.0), "head": sgd(learning_rate=1.0)}, {"a": "body", "b": "head"}
    )
    opt_state = optimizer.init({"a": jnp.zeros(2), "b": jnp.zeros(2)})
    with make(server, job, groups={"body": 0.1, "head": 0.3}) as scheduler:
        opt_state = scheduler.begin(opt_state)
    updates, _ = optimizer.update({"a": jnp.ones(2), "b": jnp.ones(2)}, opt_state)
    assert (float(updates["a"][0]), float(updates["b"][0])) == pytest.approx((-0.1, -0.3))


def test_an_optimizer_without_the_hyperparameter_is_refused(server, job):
    with make(server, job) as scheduler, pytest.raises(lrs.UsageError, match="inject_hyperparams"):
        scheduler.begin(optax.sgd(0.1).init(start()))


def test_copies_are_kept_and_restored_though_the_step_donates_its_arguments():
    service = FakeService(tier=2, lag=1)
    service.extras = {2: {"actions": [("snapshot", "a")]}, 4: {"actions": [("restore", "a")]}}
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=0.5)

    def step(state):
        params, opt_state = state
        updates, opt_state = optimizer.update(jax.grad(loss_of)(params, X, Y), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    update = jax.jit(step, donate_argnums=0)
    try:
        with lrs.jax.Scheduler("a/b", server=service.url, deadline=20.0, tier=2, groups=0.5) as scheduler:
            params = start()
            state = (params, scheduler.begin(optimizer.init(params)))
            seen = []
            for _ in range(6):
                seen.append([float(w) for w in state[0]["w"].ravel()])
                state = update(state)
                state = scheduler.act((state[0], scheduler.update(state[1], 1.0)))
        assert seen[4] == seen[2]
        assert seen[5] != seen[3], "the rate is the step's own"
    finally:
        service.stop()
