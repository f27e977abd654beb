"""Kernels and linear models on whole data sets, as in section 5 of Zhang et al. (2017).

Run: python benchmarks/whole_data_sets.py mnist|gabor|cifar|filters [--threads 2]. Each takes from
ten minutes to an hour and up to 11 GB; GENGAP_DATA may name a folder that holds the data.

    mnist    Gaussian kernel, bandwidth 0.02, pixels of all 60,000 digits
    gabor    Gaussian kernel, Gabor features of all 60,000 digits, bandwidth one over the median
             squared distance, on the diagonal what a ridgeless fit adds itself
    cifar    Gaussian kernel, pixels of all 50,000 images, the bandwidth with the least
             left-out error on 4,000
    filters  linear model on 250 to 1,000 random convolutions of all 50,000 images, every ridge
"""

import argparse
import resource
import time

import torch

import gengap
from gengap.kernels import (
    GaborFeatures,
    KernelInterpolatorClassifier,
    RandomConvolutions,
    RidgePathClassifier,
    median_bandwidth,
)

BANDWIDTHS = (2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)
NUGGET = 2.92e-4
FILTERS, RIDGES = (250, 500, 1000), (0.0, 1e4, 1e5, 1e6, 1e7)


def pixels(name):
    """Return images in [0, 1] and labels of both halves."""
    return [(half.inputs.double().div(255), half.targets) for half in gengap.load(name)]


def flat(images):
    return images.flatten(1).numpy()


def error(model, x, y):
    return 100 * float((model.predict(x) != y.numpy()).mean())


def solved(train, test, **settings):
    """Fit and print."""
    (x, y), (z, w) = train, test
    model = KernelInterpolatorClassifier(
        solver="cholesky", keep_factor=False, verbose=True, **settings
    )
    began, clock = time.process_time(), time.monotonic()
    model.fit(x, y.numpy())
    spent = minutes(began, clock)
    few, steps = error(model, x[:5000], y[:5000]), [f"{r:.1e}" for r in model.residuals_]
    print(
        f"{settings}: test error {error(model, z, w):.2f} %, of 5,000 training examples {few:.2f} %"
    )
    print(f"RKHS norm {model.rkhs_norm_:.1f}, nugget {model.nugget_:.1e}")
    print(f"relative residual {model.residual_:.1e}, after products {' '.join(steps) or 'none'}")
    print(f"fit: {spent}; peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB")


def minutes(began, clock):
    """Return the time since, as words."""
    own, wall = (time.process_time() - began) / 60, (time.monotonic() - clock) / 60
    return f"{own:.0f} minutes of a processor, {wall:.0f} by the clock"


def mnist():
    (x, y), (z, w) = pixels("mnist")
    solved((flat(x), y), (flat(z), w), bandwidth=0.02)


def gabor():
    features = GaborFeatures()
    (x, y), (z, w) = [(features(images.float()), labels) for images, labels in pixels("mnist")]
    how = {"bandwidth": median_bandwidth(x), "ridge": NUGGET, "refine": False}
    solved((x.numpy(), y), (z.numpy(), w), **how)


def cifar():
    (x, y), (z, w) = pixels("cifar-10")
    few, left_out = flat(x[:4000]), {}
    for bandwidth in BANDWIDTHS:
        model = KernelInterpolatorClassifier(bandwidth=bandwidth, refine=False)
        left_out[bandwidth] = model.fit(few, y[:4000].numpy()).loo_error_
    print("left-out errors", left_out, flush=True)
    best = min(left_out, key=left_out.get)
    solved((flat(x), y), (flat(z), w), bandwidth=best, tolerance=1e-3, max_iterations=3)


def filters():
    (x, y), (z, w) = [(images.float(), labels) for images, labels in pixels("cifar-10")]
    for count in FILTERS:
        began, clock = time.process_time(), time.monotonic()
        bank = RandomConvolutions(num_filters=count).fit(x)
        model = RidgePathClassifier(RIDGES, features=bank, leave_one_out=False)
        said = model.fit(x.numpy(), y.numpy()).predict_path(z.numpy())
        errors = [f"{100 * float((one != w.numpy()).mean()):.2f}" for one in said]
        print(f"{count} filters, {bank.num_features} features, ridges {RIDGES}:", end=" ")
        print(f"test errors {', '.join(errors)} %; {minutes(began, clock)}", flush=True)


def main():
    ways = {"mnist": mnist, "gabor": gabor, "cifar": cifar, "filters": filters}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=ways)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    ways[options.what]()


if __name__ == "__main__":
    main()
