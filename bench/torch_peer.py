#!/usr/bin/env python3
"""The peer of spnet_step: the same training step in PyTorch, with fake quantization, in turns with spnet_step.

usage: torch_peer.py [--threads 2] [--batch 128] [--width 16] [--bits 1,2,4,8,32] [--steps 4] [--rounds 3] [--bf16]
                     [--compile] [--precision highest|high|medium] [--bench build/bench/spnet_step]
Needs the Python package torch. ResNet-20 in channels last, DoReFa's quantizers on all but the first convolution and the
classifier, a batch norm for each switch; every switch runs forward and backward, the labels teach the widest and its
softmax the others, then one update of SGD. --bf16 is autocast. Prints ms a step of both, round by round, with their
ratio, and the memory that PyTorch took; spnet_step prints its own.
"""
import argparse
import resource
import subprocess
import time

import torch
from torch import nn
from torch.nn import functional as F


class Width:
    """The bit-width that all layers of a network read."""

    bits = 32


def straight_through(x, quantized):
    return x + (quantized - x).detach()


def sign(x, zero):
    return torch.where(x > 0, 1.0, torch.where(x < 0, -1.0, zero))


def quantized_weight(w, bits):
    if bits == 32:
        return w
    if bits == 1:
        return straight_through(w, sign(w, 1.0))
    levels = 2**bits - 1
    unit = torch.tanh(w)
    unit = 0.5 + 0.5 * unit / unit.abs().max()
    return 2 * straight_through(unit, (unit * levels).round() / levels) - 1


def quantized_activation(x, bits):
    if bits == 32:
        return x
    x = x.clamp(0, 1)
    levels = 2**bits - 1
    return straight_through(x, sign(x, -1.0) if bits == 1 else (x * levels).round() / levels)


class QuantizedConv(nn.Module):
    def __init__(self, width, inputs, outputs, kernel, stride):
        super().__init__()
        self.width, self.stride, self.padding = width, stride, kernel // 2
        self.weight = nn.Parameter(nn.init.kaiming_normal_(torch.empty(outputs, inputs, kernel, kernel)))

    def forward(self, x):
        bits = self.width.bits
        return F.conv2d(quantized_activation(x, bits), quantized_weight(self.weight, bits), None, self.stride, self.padding)


class SwitchableNorm(nn.Module):
    def __init__(self, width, channels, switches):
        super().__init__()
        self.width = width
        self.norms = nn.ModuleDict({str(bits): nn.BatchNorm2d(channels) for bits in switches})

    def forward(self, x):
        return self.norms[str(self.width.bits)](x)


def conv_norm(width, inputs, outputs, kernel, stride, switches):
    return nn.Sequential(QuantizedConv(width, inputs, outputs, kernel, stride), SwitchableNorm(width, outputs, switches))


class ResidualBlock(nn.Module):
    def __init__(self, width, inputs, outputs, stride, switches):
        super().__init__()
        self.first = conv_norm(width, inputs, outputs, 3, stride, switches)
        self.second = conv_norm(width, outputs, outputs, 3, 1, switches)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else conv_norm(width, inputs, outputs, 1, stride, switches)

    def forward(self, x):
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


def resnet20(width, channels, switches):
    layers = [nn.Conv2d(3, channels, 3, padding=1, bias=False), SwitchableNorm(width, channels, switches), nn.ReLU()]
    inputs = channels
    for stage in range(3):
        outputs = channels << stage
        for block in range(3):
            layers.append(ResidualBlock(width, inputs, outputs, 2 if stage > 0 and block == 0 else 1, switches))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))


class Step:
    def __init__(self, a):
        self.bf16, self.width = a.bf16, Width()
        self.switches = sorted((int(bits) for bits in a.bits.split(",")), reverse=True)
        network = resnet20(self.width, a.width, self.switches).to(memory_format=torch.channels_last)
        self.network = torch.compile(network) if a.compile else network
        self.optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
        self.images = torch.randn(a.batch, 3, 32, 32).to(memory_format=torch.channels_last)
        self.labels = torch.randint(0, 10, (a.batch,))

    def __call__(self):
        self.optimizer.zero_grad()
        targets = self.labels
        for bits in self.switches:
            self.width.bits = bits
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16):
                logits = self.network(self.images)
            logits = logits.float()
            F.cross_entropy(logits, targets).backward()
            if targets is self.labels:
                targets = logits.detach().softmax(1)
        self.optimizer.step()


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("threads", 2), ("batch", 128), ("width", 16), ("steps", 4), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--bits", default="1,2,4,8,32")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--precision", default="highest")
    parser.add_argument("--bench", default="build/bench/spnet_step")
    a = parser.parse_args()
    at_start = peak_mib()
    torch.manual_seed(0)
    torch.set_num_threads(a.threads)
    step = Step(a)
    command = [a.bench, "--threads", str(a.threads), "--batch", str(a.batch), "--width", str(a.width), "--switches", a.bits,
               "--steps", str(a.steps), "--matmul-precision", a.precision]
    print(f"torch {torch.__version__}{', compiled' if a.compile else ''}{', bf16' if a.bf16 else ''}")
    for _ in range(a.rounds):
        own = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        own_ms = float(own.split(" ms/step")[0].split()[-1])
        times = []
        for _ in range(a.steps):
            begin = time.perf_counter()
            step()
            times.append(time.perf_counter() - begin)
        peer_ms = min(times) * 1e3
        print(f"spnet {own_ms:.1f} ms a step, torch {peer_ms:.1f}, ratio {peer_ms / own_ms:.2f}; torch took "
              f"{peak_mib() - at_start:.0f} MiB after its start")


if __name__ == "__main__":
    main()
