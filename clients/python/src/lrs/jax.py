"""JAX and optax: the service's rates in an optimizer's state, or as an argument of a pure function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import jax
import jax.numpy as jnp
import optax

from lrs.arguments import SchedulerArguments, check_arguments
from lrs.contract import SKIPPED_METRIC, Skipped, Window
from lrs.errors import UsageError
from lrs.implied import given_value, implying
from lrs.scheduler import Scheduler as CoreScheduler
from lrs.steps import whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Unpack

__all__ = ["Scheduler", "scale_by_told_rate"]

#: JAX computes asynchronously, so the newest loss is not computed yet when a step is reported.
DEVICE_LAG = 8

_State = TypeVar("_State")


class Scheduler(CoreScheduler):
    """A scheduler for optimizers made with `optax.inject_hyperparams`.

    `opt_state = scheduler.begin(opt_state)` before the first update, and
    `opt_state = scheduler.update(opt_state, loss)` after each.
    """

    def __init__(
        self,
        job: str,
        *,
        hyperparameter: str = "learning_rate",
        accumulation: int = 1,
        **arguments: Unpack[SchedulerArguments],
    ) -> None:
        """Register or find the job.

        Args:
            job: See `lrs.Scheduler`.
            hyperparameter: The name of the injected rate. With several groups, each group is a label of an
                `optax.multi_transform`, and the optimizer of that label has this hyperparameter.
            accumulation: How many calls of `update` make an update of the optimizer, as the `every_k_schedule` of
                `optax.MultiSteps`.
            arguments: Those of `lrs.Scheduler`. `decision_lag` is 8 by default, because JAX computes asynchronously on every
                platform.
        """
        check_arguments(arguments, SchedulerArguments, Scheduler.__init__)
        filled_in = [] if given_value(arguments, "decision_lag") is not None else ["decision_lag"]
        if filled_in:
            arguments["decision_lag"] = DEVICE_LAG
        self._accumulation = whole(accumulation, "accumulation")
        if self._accumulation < 1:
            raise UsageError(f"accumulation must be at least 1, and was {accumulation}.")
        with implying(filled_in):
            super().__init__(job, **arguments)
        self._window = Window()
        self._batches = 0
        self._hyperparameter = hyperparameter
        self._kept: dict[str, Any] = {}

    def begin(self, opt_state: _State) -> _State:
        """Return the optimizer's state with the rates of the first update."""
        return self._with_rates(opt_state)

    def update(
        self,
        opt_state: _State,
        loss: object = None,
        grad_norm: object = None,
        metrics: Mapping[str, object] | None = None,
        *,
        skipped: object = False,
    ) -> _State:
        """Report the last update, and return the optimizer's state with the rates of the next. Never waits for a device.

        Args:
            opt_state: The optimizer's state after the update.
            loss: The training loss. With `accumulation`, the mean over the calls of an update is reported.
            grad_norm: The norm of the whole gradient before clipping.
            metrics: Other numbers of this update, by name.
            skipped: Whether the update was left out: a boolean, or an array of one, such as `~state.last_finite` of
                `optax.apply_if_finite`.
        """
        self._window.add(loss)
        self._batches += 1
        if self._batches % self._accumulation:
            return opt_state
        if skipped is not False:
            told = skipped * float(Skipped.NOT_FINITE)  # type: ignore[operator]
            metrics = {**(metrics or {}), SKIPPED_METRIC: told}
        self.step(self._window.take(), grad_norm, metrics)
        return self._with_rates(opt_state)

    def act(self, state: _State) -> _State:
        """Keep and restore copies of a tree, such as `(params, opt_state)`, as the service asks: tier 2.

        Call it after `update`, and train on with the tree that it returns.
        """
        for action in self.take_actions():
            if action.kind == "snapshot":
                # A copy, because a jitted step may take over the memory of its arguments.
                self._kept[action.identifier] = jax.tree.map(jnp.copy, state)
            elif action.kind == "restore" and action.identifier in self._kept:
                state = jax.tree.map(jnp.copy, self._kept[action.identifier])
                state = self._with_rates(state)
            elif action.kind == "forget":
                self._kept.pop(action.identifier, None)
        return state

    def _with_rates(self, tree: _State) -> _State:
        directive, name = self.directive, self._hyperparameter
        groups = self.groups if len(directive.rates) > 1 else [None]
        for group, rate in zip(groups, directive.rates, strict=False):  # the service may know more groups
            tree = _replace(tree, name, group, rate)
        return tree


def scale_by_told_rate() -> optax.GradientTransformationExtraArgs:
    """The last transformation of a chain: multiplies by `-learning_rate`, which `update` gets as an argument.

    This makes a training step a pure function of its arguments:
    `optimizer.update(gradients, state, params, learning_rate=scheduler.learning_rate)`.
    """

    def init(params: Any) -> optax.EmptyState:  # noqa: ANN401 (any tree)
        del params
        return optax.EmptyState()

    def update(updates: Any, state: Any, params: Any = None, *, learning_rate: Any, **extra: Any) -> Any:  # noqa: ANN401
        del params, extra
        return jax.tree.map(lambda update: -learning_rate * update, updates), state

    return optax.GradientTransformationExtraArgs(init, update)


def _replace(tree: _State, name: str, group: str | None, rate: float) -> _State:
    found = 0

    def is_meant(path: Any, value: Any) -> bool:  # noqa: ANN401 (a path of optax)
        nonlocal found
        meant = group is None or any(getattr(key, "key", None) == group for key in path)
        meant = meant and "hyperparams_states" not in str(path)
        found += meant
        return bool(meant)

    matches = [value for path, value in optax.tree_utils.tree_get_all_with_path(tree, name) if is_meant(path, value)]
    if not found:
        where = f" below the label {group!r}" if group is not None else ""
        raise UsageError(
            f"The optimizer's state has no hyperparameter {name!r}{where}: make the optimizer with "
            f"optax.inject_hyperparams(optax.sgd)({name}=0.1)."
        )
    dtype = getattr(matches[0], "dtype", jnp.float32)
    replaced: _State = optax.tree_utils.tree_set(tree, is_meant, **{name: jnp.asarray(rate, dtype)})
    return replaced
