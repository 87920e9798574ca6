"""The same statistics with PyTorch and CuPy, as a careful user writes them: batched, in f64, without Python loops over windows.

For a machine with a GPU, in the same run as `make gpu-check`: python3 benches/stats_compare.py [windows, default 100000]
Times are the median of 5 rounds after one, by the device's events, with the data on the device. Prints a line a statistic and library.
"""

import statistics
import sys


def linear(xp, x, axis):
    n = x.shape[1]
    mean = x.mean(**{axis: 1})[:, None]
    d = x - mean
    sxx = (d * d).sum(**{axis: 1})
    t = xp.arange(n, dtype=x.dtype, **on_device(x)) - (n - 1) / 2
    stx = d @ t
    stt = n * (n * n - 1) / 12
    slope = stx / stt
    t2 = slope * slope * stt * (n - 2) / (sxx - slope * stx)
    r1 = (d[:, 1:] * d[:, :-1]).sum(**{axis: 1}) / sxx
    half = n // 2
    a, b = x[:, :half], x[:, half:]
    variance = {"correction": 1} if axis == "dim" else {"ddof": 1}
    error = a.var(**{axis: 1}, **variance) / half + b.var(**{axis: 1}, **variance) / (n - half)
    z2 = (a.mean(**{axis: 1}) - b.mean(**{axis: 1})) ** 2 / error
    means = x.reshape(x.shape[0], -1, 32).mean(**{axis: 2})
    return mean, sxx, t2, r1, z2, means.var(**{axis: 1}, **variance), x.argmin(**{axis: 1}), x.max(**{axis: 1})


def on_device(x):
    return {"device": x.device} if type(x).__module__.startswith("torch") else {}


def in_pieces(x, function, pairs_a_window):
    """All pairs at once do not fit: pieces of at most 2 GiB of pairs."""
    piece = max(1, (2 << 30) // (8 * pairs_a_window))
    return [function(x[i : i + piece]) for i in range(0, x.shape[0], piece)]


def cases(library):
    if library == "torch":
        import torch as xp

        rows, columns = (lambda n: xp.triu_indices(n, n, 1, device="cuda")), "dim"
        make = lambda n, w: xp.randn(n, w, dtype=xp.float64, device="cuda")
        order = lambda x: ((s := x.sort(dim=1).values), (x - x.median(dim=1).values[:, None]).abs().sort(dim=1).values)
        middle = lambda slopes: slopes.median(dim=1).values
    else:
        import cupy as xp

        rows, columns = (lambda n: xp.triu_indices(n, 1)), "axis"
        make = lambda n, w: xp.random.standard_normal((n, w))
        order = lambda x: (xp.sort(x, axis=1), xp.sort(abs(x - xp.median(x, axis=1)[:, None]), axis=1))
        middle = lambda slopes: xp.median(slopes, axis=1)

    def mann_kendall(x):
        i, j = rows(x.shape[1])
        return in_pieces(x, lambda x: xp.sign(x[:, j] - x[:, i]).sum(**{columns: 1}), len(i))

    def theil_sen(x):
        i, j = rows(x.shape[1])
        return in_pieces(x, lambda x: middle((x[:, j] - x[:, i]) / (j - i)), len(i))

    yield "linear", make, 1024, lambda x: linear(xp, x, columns)
    yield "order", make, 1024, order
    yield "mann_kendall", make, 1024, mann_kendall
    yield "theil_sen", make, 256, theil_sen


def clock(library):
    if library == "torch":
        import torch

        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]

        def elapsed():
            events[1].synchronize()
            return events[0].elapsed_time(events[1])

    else:
        import cupy

        events = [cupy.cuda.Event() for _ in range(2)]

        def elapsed():
            events[1].synchronize()
            return cupy.cuda.get_elapsed_time(*events)

    return events, elapsed


def main():
    windows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    for library in ("torch", "cupy"):
        try:
            events, elapsed = clock(library)
            for name, make, length, run in cases(library):
                x = make(windows, length)
                times = []
                for _ in range(6):
                    events[0].record()
                    run(x)
                    events[1].record()
                    times.append(elapsed())
                print(f"{library:>6} {name:>12} {windows} x {length}: {statistics.median(times[1:]):.2f} ms")
        except Exception as why:  # a library or a GPU is missing: the other one may be there
            print(f"{library}: skipped: {type(why).__name__}: {why}")


main()
