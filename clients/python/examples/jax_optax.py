"""JAX and optax: the rate is a hyperparameter in the optimizer's state."""

import jax
import jax.numpy as jnp
import lrs.jax
import optax

STEPS = 200

x = jax.random.normal(jax.random.key(0), (64, 8))
y = x.sum(axis=1)
optimizer = optax.inject_hyperparams(optax.adam)(learning_rate=0.0)


@jax.jit
def update(weights, opt_state):
    loss, gradient = jax.value_and_grad(lambda w: jnp.mean((x @ w - y) ** 2))(weights)
    updates, opt_state = optimizer.update(gradient, opt_state, weights)
    return optax.apply_updates(weights, updates), opt_state, loss, optax.global_norm(gradient)


weights = jnp.zeros(8)
schedule = {"warmup": {"warmup_steps": 10, "schedule": {"linear": {}}}}
with lrs.jax.Scheduler("examples/jax", groups=0.1, total_steps=STEPS, schedule=schedule) as scheduler:
    opt_state = scheduler.begin(optimizer.init(weights))
    for _ in range(STEPS):
        weights, opt_state, loss, norm = update(weights, opt_state)
        opt_state = scheduler.update(opt_state, loss, norm)  # waits for no device
print(f"loss {loss:.2e}")
