#!/usr/bin/env python3
"""The peer of packed_bench: the same networks in float with random weights on ONNX Runtime, in turns with packed_bench.

usage: onnxruntime_peer.py [--model resnet18|mobilenet_v1|resnet20] [--threads 2] [--rounds 3]
                           [--bench build/bench/packed_bench]
Needs the Python packages onnx, onnxruntime and numpy. Batch norm is folded into the convolutions, every optimisation is
on. Prints the best median of the rounds of both, in ms an image, and their ratio.
"""
import argparse
import subprocess
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


class Network:
    """An ONNX graph that grows by layers; `x` is always the name of the latest result."""

    def __init__(self, image):
        self.random = np.random.default_rng(0)
        self.nodes, self.weights, self.image = [], [], image
        self.x, self.channels = "image", 3

    def add(self, operator, inputs, **attributes):
        name = f"{operator}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        self.x = name
        return name

    def weight(self, *shape):
        scale = np.sqrt(2 / max(1, np.prod(shape[1:])))
        name = f"w{len(self.weights)}"
        values = (self.random.standard_normal(shape) * scale).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def conv(self, x, inputs, outputs, kernel, stride=1, groups=1):
        self.channels = outputs
        weights = [self.weight(outputs, inputs // groups, kernel, kernel), self.weight(outputs)]
        return self.add("Conv", [x, *weights], kernel_shape=[kernel, kernel], strides=[stride, stride],
                        pads=[kernel // 2] * 4, group=groups)

    def relu(self, x):
        return self.add("Relu", [x])

    def block(self, x, inputs, outputs, stride):
        inner = self.relu(self.conv(x, inputs, outputs, 3, stride))
        y = self.conv(inner, outputs, outputs, 3)
        shortcut = x if stride == 1 and inputs == outputs else self.conv(x, inputs, outputs, 1, stride)
        return self.relu(self.add("Add", [y, shortcut]))

    def finish(self, x, inputs, classes):
        flat = self.add("Flatten", [self.add("GlobalAveragePool", [x])])
        self.add("Gemm", [flat, self.weight(classes, inputs), self.weight(classes)], transB=1)
        graph = helper.make_graph(
            self.nodes, "network",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, self.image, self.image])],
            [helper.make_tensor_value_info(self.x, TensorProto.FLOAT, [1, classes])], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return model.SerializeToString()


def resnet(image, channels, blocks, classes, imagenet_stem):
    net = Network(image)
    if imagenet_stem:
        x = net.relu(net.conv("image", 3, channels, 7, 2))
        x = net.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    else:
        x = net.relu(net.conv("image", 3, channels, 3))
    inputs = channels
    for stage, count in enumerate(blocks):
        for i in range(count):
            x = net.block(x, inputs, channels << stage, 2 if stage and not i else 1)
            inputs = channels << stage
    return net.finish(x, inputs, classes)


def mobilenet_v1(image):
    net = Network(image)
    x = net.relu(net.conv("image", 3, 32, 3, 2))
    inputs = 32
    for outputs, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2),
                            (1024, 1)):
        x = net.relu(net.conv(x, inputs, inputs, 3, stride, inputs))
        x = net.relu(net.conv(x, inputs, outputs, 1))
        inputs = outputs
    return net.finish(x, inputs, 1000)


NETWORKS = {
    "resnet18": (224, lambda image: resnet(image, 64, (2, 2, 2, 2), 1000, True)),
    "mobilenet_v1": (224, mobilenet_v1),
    "resnet20": (32, lambda image: resnet(image, 16, (3, 3, 3), 10, False)),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=NETWORKS, default="resnet18")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bench", default="build/bench/packed_bench")
    args = parser.parse_args()

    image, make = NETWORKS[args.model]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = args.threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(make(image), options, providers=["CPUExecutionProvider"])
    feed = {"image": np.ones((1, 3, image, image), np.float32)}

    def peer_ms():
        times = []
        for _ in range(100):
            begin = time.perf_counter()
            session.run(None, feed)
            times.append(1e3 * (time.perf_counter() - begin))
        return float(np.median(times[10:]))

    def ours_ms():
        command = [args.bench, "--model", args.model, "--image", str(image), "--threads", str(args.threads), "--switches",
                   "w32a32"]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        return float(next(line for line in lines if line.startswith("w32a32")).split()[1])

    peer = ours = float("inf")
    for _ in range(args.rounds):
        peer, ours = min(peer, peer_ms()), min(ours, ours_ms())
    print(f"{args.model}, float, {args.threads} threads: onnxruntime {onnxruntime.__version__} {peer:.2f} ms, spnet "
          f"{ours:.2f} ms, {peer / ours:.2f} times as fast")


if __name__ == "__main__":
    main()
