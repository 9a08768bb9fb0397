"""How much faster is a training step of ours on more threads? A B A B in one run, medians.

python benchmarks/threads.py [--nets cifar_cnn,mlp] [--kernels native]     needs MNIST and CIFAR-10 under DLTRAIN_DATA

Each number of threads has a process of its own, bound to as many cores.
"""

import argparse

import record
from nets import NETS
from sides import KERNELS, Side
from train_step import race

from dltrain.backend.process import available_cores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--kernels", choices=KERNELS, default="native")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    record.forbid_blas_settings()
    counts = [2**i for i in range(available_cores().bit_length())]
    figures = {}
    for name in arguments.nets.split(","):
        sides = {str(threads): Side(NETS[name], arguments.kernels, threads) for threads in counts}
        found = race(sides, NETS[name].steps, arguments.rounds)
        for side in sides.values():
            side.stop()
        for row in found.values():
            row["speed_up"] = round(found["1"]["median_ms"] / row["median_ms"], 2)
        figures[name] = found
        said = (f"{threads}: {row['median_ms']:.1f} ms, {row['speed_up']:.2f} times" for threads, row in found.items())
        print(f"{name}, by threads: {'; '.join(said)}", flush=True)
    record.write("threads", {"kernels": arguments.kernels, "nets": figures})


if __name__ == "__main__":
    main()
