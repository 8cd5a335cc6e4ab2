"""The attacks on document D's CNN, next to Foolbox, torchattacks, ART and SciPy.

On the same weights: how well and how fast.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from minadv import evaluation
from minadv.attacks.apgd import apgd
from minadv.attacks.carlini_wagner import carlini_wagner
from minadv.attacks.deepfool import deepfool
from minadv.attacks.fab import fab
from minadv.attacks.iterative_fgsm import iterative_fgsm
from minadv.attacks.jsma import jsma
from minadv.attacks.one_pixel import one_pixel
from minadv.attacks.pgd import pgd
from minadv.attacks.square import square
from minadv.attacks.strongest import strongest
from tests.benchmarks.accuracy import mnist, trained
from tests.benchmarks.harness import HEADER, compare, count, say, seconds
from tests.benchmarks.peers import frozen, in_torch
from tests.benchmarks.place import gpu

COUNT = 1024  # images for the quality of DeepFool and PGD
TIMED = 256  # of them for the speed; the slower peers are given fewer


def main():
    """Quality first, then speed. A peer that is not installed is left out, and named."""
    d, model = mnist(), trained()
    peer = frozen(in_torch(model))
    right = np.flatnonzero(evaluation.predict(model, d.x_test) == d.y_test)
    x, y = d.x_test[right], d.y_test[right]
    twos = x[y == 2]

    ten = iterative_fgsm(model, twos[:10], target=6, eps=0.2, steps=200)
    say(f"D4: {int(ten.success.sum())} of ten twos become six.")
    say("\n| attack | library | success | median size |\n|---|---|---|---|")
    speeds = []
    for f in (with_jsma, with_deepfool, with_pgd, with_newer_attacks, with_autoattack):
        try:
            speeds += f(model, peer, x, y, twos)
        except ImportError as error:
            say(f"| {f.__name__} | {error} | | |")
    say("")
    print(HEADER)
    for run in speeds:
        run()
    one_pixel_speed(model, peer, twos)
    device = gpu()[0]
    if device:
        on_gpu(device, model, x[:COUNT], y[:COUNT])


def quality(
    attack: str,
    library: str,
    model: Callable,
    x,
    x_adv,
    succeeded: Callable,
    size: Callable,
    unit: str,
):
    """One row: the share of successes, judged by our model, and their median size."""
    x_adv = np.asarray(x_adv, np.float32)
    ok = succeeded(evaluation.predict(model, x_adv))
    sizes = size((x_adv.astype(np.float64) - x).reshape(len(x), -1))[ok]
    say(f"| {attack} | {library} | {ok.mean():.1%} | {np.median(sizes):.4g} {unit} |")


def images(x) -> torch.Tensor:
    """(N, H, W, C) to PyTorch's (N, C, H, W)."""
    return torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()


def ours(x: torch.Tensor) -> np.ndarray:
    """(N, C, H, W) to our (N, H, W, C)."""
    return x.detach().permute(0, 2, 3, 1).numpy()


def l0(rows):
    return (rows != 0).sum(axis=1)


def l2(rows):
    return np.linalg.norm(rows, axis=1)


def linf(rows):
    return np.abs(rows).max(axis=1)


def with_jsma(model, peer, x, y, twos):
    """Twos into six, theta = 1, gamma = 0.145; ART at the batch size that suits it best."""
    from art.attacks.evasion import SaliencyMapMethod
    from art.estimators.classification import PyTorchClassifier

    twos, few = twos[:256], twos[:64]
    estimator = PyTorchClassifier(
        peer, torch.nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0.0, 1.0)
    )
    target = np.eye(10, dtype=np.float32)[np.full(len(few), 6)]

    def art(batch_size):
        theirs = SaliencyMapMethod(
            estimator, theta=1.0, gamma=0.145, batch_size=batch_size, verbose=False
        )
        return theirs.generate(images(few).numpy(), y=target)

    art(64)  # warm-up
    fastest = min((16, 32, 64), key=lambda batch_size: seconds(partial(art, batch_size)))
    art = partial(art, fastest)

    becomes_six = partial(np.equal, 6)
    for outputs in ("probabilities", "logits"):
        adversarial = jsma(model, few, target=6, theta=1.0, gamma=0.145, outputs=outputs).x_adv
        quality(
            "JSMA 2 -> 6", f"minadv ({outputs})", model, few, adversarial, becomes_six, l0, "pixels"
        )
    quality(
        "JSMA 2 -> 6", "ART", model, few, art().transpose(0, 2, 3, 1), becomes_six, l0, "pixels"
    )
    speed = partial(jsma, model, twos, target=6, theta=1.0, gamma=0.145)
    return [
        partial(
            compare,
            "JSMA 2 -> 6",
            f"ART, batch {fastest}",
            speed,
            art,
            work=len(twos),
            theirs_work=len(few),
            unit="images/s",
        )
    ]


def with_deepfool(model, peer, x, y, twos):
    """Overshoot 0.02, 50 steps, 10 candidates, L2."""
    import foolbox
    import torchattacks

    x, y = x[: count(COUNT, TIMED)], y[: count(COUNT, TIMED)]
    few = 48  # for torchattacks, which takes one image after the other
    wrapped = foolbox.PyTorchModel(peer, bounds=(0, 1), device="cpu")
    fool, tool = (
        foolbox.attacks.L2DeepFoolAttack(steps=50, overshoot=0.02, candidates=10),
        torchattacks.DeepFool(peer, 50, 0.02),
    )
    inputs, labels = images(x), torch.from_numpy(y)

    def with_foolbox(n=TIMED):
        return ours(fool(wrapped, inputs[:n], labels[:n], epsilons=None)[0])

    def with_torchattacks(n=TIMED // 16):
        return ours(tool(inputs[:n], labels[:n]))

    def minadv(n=TIMED):
        return deepfool(model, x[:n], y=y[:n]).x_adv

    for n, library, theirs in (
        (len(x), "Foolbox", with_foolbox),
        (few, "torchattacks", with_torchattacks),
    ):
        row = partial(quality, succeeded=partial(np.not_equal, y[:n]), size=l2, unit="L2")
        row(f"DeepFool, {n} images", "minadv", model, x[:n], minadv(n))
        row(f"DeepFool, {n} images", library, model, x[:n], theirs(n))
    row = partial(compare, "DeepFool", work=TIMED, unit="images/s")
    return [
        partial(row, "Foolbox", minadv, with_foolbox),
        partial(row, "torchattacks", minadv, with_torchattacks, theirs_work=TIMED // 16),
    ]


STEPS, EPS = 40, 0.1
ALPHA = 2.5 * EPS / STEPS


def with_pgd(model, peer, x, y, twos):
    """40 steps of 2.5 * eps / 40 at eps = 0.1, from a random start."""
    import foolbox
    import torchattacks

    x, y = x[: count(COUNT, TIMED)], y[: count(COUNT, TIMED)]
    wrapped = foolbox.PyTorchModel(peer, bounds=(0, 1), device="cpu")
    fool = foolbox.attacks.LinfPGD(abs_stepsize=ALPHA, steps=STEPS)
    tool = torchattacks.PGD(peer, eps=EPS, alpha=ALPHA, steps=STEPS)
    inputs, labels = images(x), torch.from_numpy(y)

    def with_foolbox(n=TIMED):
        return ours(fool(wrapped, inputs[:n], labels[:n], epsilons=EPS)[1])

    def with_torchattacks(n=TIMED):
        return ours(tool(inputs[:n], labels[:n]))

    def minadv(n=TIMED, early_stop=True):
        how = {"eps": EPS, "alpha": ALPHA, "steps": STEPS, "early_stop": early_stop}
        return pgd(model, x[:n], y=y[:n], **how).x_adv

    row = partial(quality, succeeded=partial(np.not_equal, y), size=linf, unit="Linf")
    for library, attack in (
        ("minadv", minadv),
        ("Foolbox", with_foolbox),
        ("torchattacks", with_torchattacks),
    ):
        row(f"PGD-40, eps = {EPS}", library, model, x, attack(len(x)))
    full = partial(minadv, early_stop=False)
    row = partial(compare, work=TIMED, unit="images/s")
    return [
        partial(row, "PGD-40, all steps", "torchattacks", full, with_torchattacks),
        partial(row, "PGD-40, all steps", "Foolbox", full, with_foolbox),
        partial(row, "PGD-40, early leaving", "torchattacks", minadv, with_torchattacks),
    ]


def with_newer_attacks(model, peer, x, y, twos):
    """APGD, Square, FAB and Carlini-Wagner of torchattacks, on its defaults where it has them."""
    import torchattacks

    eps, few = 0.1, 64
    x, y = x[:few], y[:few]
    inputs, labels = images(x), torch.from_numpy(y)
    linf = lambda rows: np.abs(rows).max(axis=1)  # noqa: E731
    how = {"lr": 0.01, "steps": 300, "search_steps": 6, "initial_const": 0.01}
    pairs = {
        "APGD-50, eps = 0.1": (
            partial(apgd, model, x, y=y, eps=eps, steps=50),
            torchattacks.APGD(peer, eps=eps, steps=50),
            linf,
        ),
        "Square, 500 queries, eps = 0.1": (
            partial(square, model, x, y=y, eps=eps, steps=500),
            torchattacks.Square(peer, eps=eps, n_queries=500),
            linf,
        ),
        "FAB-20": (
            partial(fab, model, x, y=y, steps=20),
            torchattacks.FAB(peer, eps=1.0, steps=20, n_classes=10),
            linf,
        ),
        "Carlini-Wagner": (
            partial(carlini_wagner, model, x, y=y, **how),
            torchattacks.CW(peer, c=1, steps=300, lr=0.01),
            l2,
        ),
    }
    changed, speeds = partial(np.not_equal, y), []
    for name, (mine, tool, size) in pairs.items():
        unit = "L2" if size is l2 else "Linf"
        theirs = partial(tool, inputs, labels)
        quality(name, "minadv", model, x, mine().x_adv, changed, size, unit)
        quality(name, "torchattacks", model, x, ours(theirs()), changed, size, unit)
        speeds.append(
            partial(
                compare, name, "torchattacks", mine, theirs, work=few, unit="images/s", rounds=3
            )
        )
    return speeds


def with_autoattack(model, peer, x, y, twos):
    """The ensembles: what withstands each, and how many images a second."""
    import torchattacks

    few = 64
    x, y = x[:few], y[:few]
    inputs, labels = images(x), torch.from_numpy(y)
    changed, speeds = partial(np.not_equal, y), []
    for norm, eps, size in (("Linf", 0.1, lambda r: np.abs(r).max(axis=1)), ("L2", 1.0, l2)):
        name = f"strongest, {norm} {eps:g}"
        mine = partial(strongest, model, x, y=y, eps=eps, norm=norm.lower())
        tool = torchattacks.AutoAttack(peer, norm=norm, eps=eps, seed=0)
        theirs = partial(tool, inputs, labels)
        quality(name, "minadv", model, x, mine().x_adv, changed, size, norm)
        quality(name, "AutoAttack", model, x, ours(theirs()), changed, size, norm)
        speeds.append(
            partial(
                compare,
                name,
                "AutoAttack of torchattacks",
                mine,
                theirs,
                work=few,
                unit="images/s",
                rounds=3,
            )
        )
    return speeds


def on_gpu(device, model, x, y):
    """PGD-40 and DeepFool on a CUDA device, both sides there."""
    peer, model = frozen(in_torch(model)).to(device.device), device.model(model)
    inputs, labels, here = device.tensor(x), device.tensor(y), device.array(x)
    row = partial(compare, work=len(x), unit="images/s", place=device)
    how = {"eps": EPS, "alpha": ALPHA, "steps": STEPS}
    try:
        import torchattacks

        tool = torchattacks.PGD(peer, **how)
        for name, early in (("all steps", False), ("early leaving", True)):
            mine = partial(pgd, model, here, y=y, early_stop=early, **how)
            row(f"PGD-40, {name}", "torchattacks", mine, partial(tool, inputs, labels))
    except ImportError as error:
        say(f"On a GPU, without torchattacks: {error}")
    try:
        import foolbox

        wrapped = foolbox.PyTorchModel(peer, bounds=(0, 1), device=device.device)
        fool = foolbox.attacks.L2DeepFoolAttack(steps=50, overshoot=0.02, candidates=10)
        theirs = partial(fool, wrapped, inputs, labels, epsilons=None)
        row("DeepFool", "Foolbox", partial(deepfool, model, here, y=y), theirs)
    except ImportError as error:
        say(f"On a GPU, without Foolbox: {error}")


def one_pixel_speed(model, peer, twos):
    """Queries per second, best/1: ours for eight images at once, SciPy's (vectorized) for one."""
    from scipy.optimize import differential_evolution

    population, generations = 400, 10
    picture = images(twos[:1])[0, 0]

    def probability_of_two(genes):  # (3, P): row, column, value
        batch = picture.repeat(genes.shape[1], 1, 1)
        row, column = (
            torch.from_numpy(np.minimum(genes[axis], 27.0).astype(int)) for axis in (0, 1)
        )
        batch[torch.arange(len(batch)), row, column] = torch.from_numpy(genes[2].astype(np.float32))
        with torch.no_grad():
            return torch.softmax(peer(batch[:, None]), dim=1)[:, 2].numpy().astype(float)

    def scipy():
        differential_evolution(
            probability_of_two,
            [(0, 28), (0, 28), (0, 1)],
            popsize=-(-population // 3),
            maxiter=generations - 1,
            tol=-1,
            atol=-1,
            polish=False,
            vectorized=True,
            updating="deferred",
            seed=0,
            recombination=1.0,
        )

    few = twos[:8]
    speed = partial(
        one_pixel, model, few, y=2, population=population, generations=generations, strategy="best1"
    )
    asked = int(speed().queries.sum())
    compare(
        "One pixel",
        "SciPy + PyTorch",
        speed,
        scipy,
        work=asked,
        theirs_work=3 * -(-population // 3) * generations,
        unit="queries/s",
    )
