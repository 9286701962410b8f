#!/usr/bin/env python3
"""Regenerates tests/reference/*.safetensors: operators' values and gradients, as PyTorch computes them in float64.

    tools/make_reference_vectors.py [--check] [FOLDER]

With --check nothing is written: the files are compared with fresh numbers, to 1e-12 (other versions round differently).
Needs PyTorch 1.13 or newer (Debian: python3-torch) and nothing else. The same PyTorch always makes the same bytes.

A file for each operator, with keys "<case>/<tensor>". Images are [N,H,W,C], convolution weights [O,kH,kW,C/groups],
linear weights [out,in]. Inputs and upstream gradients are exact in float32 and stored as F32; what PyTorch computed
("out", "grad_<input>", "<running statistic>_after", optimizers' "weights", schedules' "lr") is F64. Options are scalars
or short vectors, I64 or F64, under PyTorch's names; a pair is [height, width]. "grad_out" is the upstream gradient;
where there is none, "out" is a scalar and the upstream gradient is 1.

Quantizers: "bits", the tensor "x", its quantized values "out"; gradients by the straight-through estimator of the SP-Nets
code (DoReFa).

Losses are means over the batch; those with a temperature T are multiplied by T^2. kl_divergence: mean over rows of
KL(softmax(teacher/T) || softmax(x/T)). Optimizers: "gradients" [steps, n] are applied in turn; "weights" [steps + 1, n]
begins with the start. Schedules: "lr" [steps] is the rate of update 0, 1, 2, ...
"""
import json
import math
import pathlib
import random
import struct
import sys

import torch
import torch.nn.functional as F

FORMATS = {"F64": "d", "F32": "f", "I64": "q"}


class Cases:
    """The cases of one file; every tensor is (dtype, shape, flat list)."""

    def __init__(self, name):
        self.name = name
        self.tensors = {}
        self.random = random.Random(name)

    def put(self, key, dtype, shape, values):
        assert key not in self.tensors, key
        self.tensors[key] = (dtype, list(shape), values)

    def normal(self, key, shape, scale=1.0, offset=0.0):
        """A random input, exact in float32, stored under `key` and returned as a leaf."""
        count = math.prod(shape)
        values = [offset + scale * self.random.gauss(0.0, 1.0) for _ in range(count)]
        return self.given(key, shape, values)

    def given(self, key, shape, values):
        values = [struct.unpack("<f", struct.pack("<f", v))[0] for v in values]
        self.put(key, "F32", shape, values)
        return torch.tensor(values, dtype=torch.float64).reshape(shape).requires_grad_()

    def labels(self, key, shape, classes):
        values = [self.random.randrange(classes) for _ in range(math.prod(shape))]
        self.put(key, "I64", shape, values)
        return torch.tensor(values, dtype=torch.int64).reshape(shape)

    def result(self, key, tensor):
        tensor = tensor.detach().to(torch.float64).contiguous()
        self.put(key, "F64", tensor.shape, tensor.reshape(-1).tolist())

    def option(self, case, **options):
        for name, value in options.items():
            flat = list(value) if isinstance(value, (tuple, list)) else [value]
            shape = [len(flat)] if isinstance(value, (tuple, list)) else []
            dtype = "I64" if all(isinstance(v, int) for v in flat) else "F64"
            self.put(f"{case}/{name}", dtype, shape, flat)

    def check_gradients(self, case, out, **inputs):
        """Stores `out` and the gradients of `inputs`, from a random upstream gradient unless `out` is a scalar."""
        self.result(f"{case}/out", out)
        if out.dim() == 0:
            out.backward()
        else:
            out.backward(self.normal(f"{case}/grad_out", out.shape).detach())
        for name, tensor in inputs.items():
            self.result(f"{case}/grad_{name}", tensor.grad)

    def to_bytes(self):
        header, data = {}, b""
        for key in sorted(self.tensors, key=lambda k: (self.tensors[k][0] == "F32", k)):
            dtype, shape, values = self.tensors[key]
            piece = struct.pack(f"<{len(values)}{FORMATS[dtype]}", *values)
            header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(piece)]}
            data += piece
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-(len(text) + 8) % 64)
        return struct.pack("<Q", len(text)) + text + data


def nchw(x):
    return x.permute(0, 3, 1, 2)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


def conv2d():
    cases = Cases("conv2d")

    def case(name, x, w, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
        cases.option(name, stride=stride, padding=padding, dilation=dilation, groups=groups)
        x = cases.normal(f"{name}/x", x)
        w = cases.normal(f"{name}/w", w, 0.5)
        out = nhwc(F.conv2d(nchw(x), nchw(w), None, stride, padding, dilation, groups))
        cases.check_gradients(name, out, x=x, w=w)

    case("plain", (2, 5, 6, 3), (4, 3, 3, 3))
    case("padded", (2, 5, 4, 3), (5, 3, 3, 3), padding=(1, 1))
    case("pointwise", (2, 3, 4, 7), (5, 1, 1, 7))
    case("stride2", (1, 7, 6, 4), (6, 3, 3, 4), stride=(2, 2), padding=(1, 1))
    case("dilation2", (1, 7, 7, 3), (4, 3, 3, 3), padding=(2, 2), dilation=(2, 2))
    case("groups2", (2, 4, 5, 6), (4, 3, 3, 3), padding=(1, 1), groups=2)
    case("depthwise", (2, 6, 5, 5), (5, 3, 3, 1), stride=(2, 2), padding=(1, 1), groups=5)
    case("multiplier2", (1, 4, 4, 3), (6, 3, 3, 1), padding=(1, 1), groups=3)
    case("uneven", (1, 8, 7, 4), (6, 3, 2, 2), stride=(2, 1), padding=(0, 2), dilation=(1, 3), groups=2)
    case("stem", (1, 9, 9, 3), (4, 7, 7, 3), stride=(2, 2), padding=(3, 3))
    return cases


def linear():
    cases = Cases("linear")
    x, w, b = cases.normal("bias/x", (5, 7)), cases.normal("bias/w", (3, 7)), cases.normal("bias/b", (3,))
    cases.check_gradients("bias", F.linear(x, w, b), x=x, w=w, b=b)
    x, w = cases.normal("no_bias/x", (4, 19)), cases.normal("no_bias/w", (10, 19))
    cases.check_gradients("no_bias", F.linear(x, w), x=x, w=w)
    return cases


def batch_norm():
    cases = Cases("batch_norm")

    def case(name, shape, training, momentum=0.1, eps=1e-5, offset=0.0, scale=1.0):
        channels = shape[-1]
        cases.option(name, training=int(training), momentum=momentum, eps=eps)
        x = cases.normal(f"{name}/x", shape, scale, offset)
        gamma = cases.normal(f"{name}/gamma", (channels,), 0.3, 1.0)
        beta = cases.normal(f"{name}/beta", (channels,))
        mean = cases.normal(f"{name}/running_mean", (channels,)).detach()
        variance = cases.given(f"{name}/running_var", (channels,), [0.5 + 0.25 * c for c in range(channels)]).detach()
        planar = x.permute(0, 3, 1, 2) if len(shape) == 4 else x
        out = F.batch_norm(planar, mean, variance, gamma, beta, training, momentum, eps)
        out = out.permute(0, 2, 3, 1) if len(shape) == 4 else out
        cases.check_gradients(name, out, x=x, gamma=gamma, beta=beta)
        if training:
            cases.result(f"{name}/running_mean_after", mean)
            cases.result(f"{name}/running_var_after", variance)

    case("train", (3, 4, 5, 6), True)
    case("train_rows", (9, 5), True, momentum=0.3, eps=1e-3)
    case("train_offset", (2, 4, 4, 3), True, offset=30.0, scale=0.5)
    case("eval", (2, 3, 4, 6), False)
    return cases


def pooling(name):
    cases = Cases(name)

    def case(case_name, shape, kernel, stride, padding=(0, 0), **options):
        cases.option(case_name, kernel_size=kernel, stride=stride, padding=padding,
                     **{key: int(value) for key, value in options.items()})
        x = cases.normal(f"{case_name}/x", shape)
        pool = F.max_pool2d if name == "max_pool2d" else F.avg_pool2d
        cases.check_gradients(case_name, nhwc(pool(nchw(x), kernel, stride, padding, **options)), x=x)

    case("halves", (2, 6, 4, 3), (2, 2), (2, 2))
    case("odd", (1, 7, 5, 3), (2, 2), (2, 2))
    case("overlap", (2, 7, 6, 2), (3, 3), (2, 2))
    case("dense", (1, 5, 7, 2), (3, 3), (1, 1))
    if name == "max_pool2d":
        case("padded", (1, 7, 6, 3), (3, 3), (2, 2), (1, 1))
    else:
        case("padded", (1, 7, 6, 3), (3, 3), (2, 2), (1, 1), count_include_pad=True)
        case("padded_exclusive", (1, 7, 6, 3), (3, 3), (2, 2), (1, 1), count_include_pad=False)
    return cases


def global_avg_pool():
    cases = Cases("global_avg_pool")
    for name, shape in (("square", (2, 4, 4, 5)), ("uneven", (3, 1, 7, 2))):
        x = cases.normal(f"{name}/x", shape)
        cases.check_gradients(name, F.adaptive_avg_pool2d(nchw(x), 1).flatten(1), x=x)
    return cases


def activations():
    cases = Cases("activations")
    shape = (3, 2, 4, 5)
    for name, function in (("relu", F.relu), ("tanh", torch.tanh), ("sigmoid", torch.sigmoid), ("exp", torch.exp)):
        x = cases.normal(f"{name}/x", shape, 2.0)
        cases.check_gradients(name, function(x), x=x)
    # Not at the ends, where versions of PyTorch differ.
    x = cases.normal("clamp/x", shape, 2.0)
    cases.option("clamp", min=-0.5, max=1.25)
    cases.check_gradients("clamp", x.clamp(-0.5, 1.25), x=x)
    x = cases.given("relu_ends/x", (3,), [-1.0, 0.0, 1.0])
    cases.check_gradients("relu_ends", F.relu(x), x=x)
    for name, slopes in (("prelu", 5), ("prelu_shared", 1)):
        x = cases.normal(f"{name}/x", shape)
        slope = cases.normal(f"{name}/slope", (slopes,), 0.3)
        cases.check_gradients(name, nhwc(F.prelu(nchw(x), slope)), x=x, slope=slope)
    return cases


def arithmetic():
    cases = Cases("arithmetic")
    functions = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div}
    shapes = {"same": ((2, 3, 4), (2, 3, 4)), "channels": ((2, 3, 2, 4), (4,)), "images": ((2, 3, 2, 4), (2, 1, 1, 4)),
              "both": ((3, 1), (1, 5)), "scalar": ((2, 3), ())}
    for function_name, function in functions.items():
        for shape_name, (left, right) in shapes.items():
            name = f"{function_name}_{shape_name}"
            a = cases.normal(f"{name}/a", left)
            # Away from 0, so that quotients stay of ordinary size.
            b = cases.normal(f"{name}/b", right, 0.25, 2.0)
            cases.check_gradients(name, function(a, b), a=a, b=b)
    for name, axes in (("sum_rows", (0,)), ("sum_image", (1, 2)), ("mean_channels", (-1,)), ("mean_image", (1, 2))):
        x = cases.normal(f"{name}/x", (2, 3, 2, 4))
        cases.option(name, dim=axes)
        cases.check_gradients(name, (torch.sum if name.startswith("sum") else torch.mean)(x, axes), x=x)
    for name, axis, lengths in (("concat_channels", -1, (2, 3, 1)), ("concat_batch", 0, (1, 2))):
        parts = {}
        for i, length in enumerate(lengths):
            shape = [2, 2, 3, 4]
            shape[axis] = length
            parts[f"x{i}"] = cases.normal(f"{name}/x{i}", shape)
        cases.option(name, dim=axis)
        cases.check_gradients(name, torch.cat(list(parts.values()), axis), **parts)
    return cases


def softmax():
    cases = Cases("softmax")
    for name, function in (("softmax", F.softmax), ("log_softmax", F.log_softmax)):
        for case, shape, scale in (("rows", (4, 6), 2.0), ("steep", (3, 5), 300.0), ("wide", (2, 37), 1.0)):
            x = cases.normal(f"{name}_{case}/x", shape, scale)
            cases.check_gradients(f"{name}_{case}", function(x, -1), x=x)
    return cases


def losses():
    cases = Cases("losses")
    for name, smoothing, scale in (("cross_entropy", 0.0, 2.0), ("cross_entropy_smooth", 0.1, 2.0),
                                   ("cross_entropy_steep", 0.2, 200.0)):
        x = cases.normal(f"{name}/x", (6, 7), scale)
        labels = cases.labels(f"{name}/labels", (6,), 7)
        cases.option(name, label_smoothing=smoothing)
        cases.check_gradients(name, F.cross_entropy(x, labels, label_smoothing=smoothing), x=x)
    for name, temperature in (("soft_cross_entropy", 1.0), ("soft_cross_entropy_warm", 2.0)):
        x = cases.normal(f"{name}/x", (5, 6), 2.0)
        raw = [[cases.random.random() for _ in range(6)] for _ in range(5)]
        target = cases.given(f"{name}/target", (5, 6), [v / sum(row) for row in raw for v in row]).detach()
        cases.option(name, temperature=temperature)
        loss = -(target * F.log_softmax(x / temperature, -1)).sum(-1).mean() * temperature**2
        cases.check_gradients(name, loss, x=x)
    for name, temperature, scale in (("kl_divergence", 1.0, 1.5), ("kl_divergence_warm", 3.0, 4.0)):
        x = cases.normal(f"{name}/x", (5, 6), scale)
        teacher = cases.normal(f"{name}/teacher", (5, 6), scale).detach()
        cases.option(name, temperature=temperature)
        loss = F.kl_div(F.log_softmax(x / temperature, -1), F.softmax(teacher / temperature, -1), reduction="batchmean")
        cases.check_gradients(name, loss * temperature**2, x=x)
    x, target = cases.normal("mse/x", (4, 5)), cases.normal("mse/target", (4, 5))
    cases.check_gradients("mse", F.mse_loss(x, target.detach()), x=x)
    return cases


def optimizers():
    cases = Cases("optimizers")
    steps, count = 8, 9

    def case(name, make, **options):
        rates = [0.1 * 0.8**i for i in range(steps)]
        cases.option(name, lr=rates, **options)
        weight = cases.normal(f"{name}/start", (count,))
        gradients = cases.normal(f"{name}/gradients", (steps, count), 0.5).detach()
        optimizer = make([weight])
        trace = [weight.detach().clone()]
        for rate, gradient in zip(rates, gradients):
            optimizer.param_groups[0]["lr"] = rate
            weight.grad = gradient.clone()
            optimizer.step()
            trace.append(weight.detach().clone())
        cases.result(f"{name}/weights", torch.stack(trace))

    def sgd(name, momentum=0.0, nesterov=0, weight_decay=0.0):
        case(name, lambda p: torch.optim.SGD(p, 0.1, momentum, 0.0, weight_decay, bool(nesterov)),
             momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)

    def adam(name, kind, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
        case(name, lambda p: kind(p, 0.1, (beta1, beta2), eps, weight_decay),
             beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay)

    sgd("sgd")
    sgd("sgd_decay", weight_decay=0.05)
    sgd("sgd_momentum", momentum=0.9, weight_decay=0.01)
    sgd("sgd_nesterov", momentum=0.8, nesterov=1, weight_decay=0.02)
    adam("adam", torch.optim.Adam)
    adam("adam_decay", torch.optim.Adam, beta1=0.8, beta2=0.99, eps=1e-3, weight_decay=0.1)
    adam("adamw", torch.optim.AdamW, weight_decay=0.05)
    adam("adamw_large", torch.optim.AdamW, beta1=0.0, beta2=0.9, eps=1e-6, weight_decay=0.5)

    for name, bound in (("clip", 1.0), ("clip_idle", 100.0)):
        parts = [cases.normal(f"{name}/gradient0", (3, 4)), cases.normal(f"{name}/gradient1", (5,))]
        weights = [torch.zeros_like(p) for p in parts]
        for weight, part in zip(weights, parts):
            weight.grad = part.detach().clone()
        cases.option(name, max_norm=bound)
        cases.result(f"{name}/norm", torch.nn.utils.clip_grad_norm_(weights, bound))
        for i, weight in enumerate(weights):
            cases.result(f"{name}/gradient{i}_after", weight.grad)
    return cases


def schedules():
    cases = Cases("schedules")

    def case(name, steps, make, lr=0.2, **options):
        weight = torch.zeros(1, requires_grad=True)
        optimizer = torch.optim.SGD([weight], lr)
        schedule = make(optimizer)
        rates = []
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        cases.option(name, base_lr=lr, **options)
        cases.put(f"{name}/lr", "F64", [steps], rates)

    kinds = torch.optim.lr_scheduler
    case("step", 40, lambda o: kinds.StepLR(o, 7, 0.3), step_size=7, gamma=0.3)
    case("multi_step", 40, lambda o: kinds.MultiStepLR(o, [5, 6, 21], 0.1), milestones=[5, 6, 21], gamma=0.1)
    case("cosine", 40, lambda o: kinds.CosineAnnealingLR(o, 40), T_max=40, eta_min=0.0)
    case("cosine_floor", 25, lambda o: kinds.CosineAnnealingLR(o, 25, 0.01), T_max=25, eta_min=0.01)
    case("warmup", 20, lambda o: kinds.LinearLR(o, 1 / 10, 1.0, 9), warmup_steps=10)
    for name, steps, rise, initial, final in (("one_cycle", 40, 0.3, 25.0, 1e4),
                                              ("one_cycle_short", 10, 0.5, 10.0, 100.0)):
        case(name, steps - 1,
             lambda o: kinds.OneCycleLR(o, 0.2, steps, pct_start=rise, cycle_momentum=False, div_factor=initial,
                                        final_div_factor=final),
             total_steps=steps, pct_start=rise, div_factor=initial, final_div_factor=final)
    return cases


class Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.round(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Sign(torch.autograd.Function):
    """-1 or +1; the gradient passes where |x| <= `limit`."""

    @staticmethod
    def forward(ctx, x, positive, limit):
        ctx.passes = x.abs() <= limit
        return torch.where(positive, torch.ones_like(x), -torch.ones_like(x))

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.passes, None, None


def quantizers():
    cases = Cases("quantizers")

    def uniform(x, bits):
        levels = 2**bits - 1
        # Far enough from the middle between two codes for float32 to round to the same.
        assert ((x * levels).frac().abs() - 0.5).abs().min() > 1e-5
        return Round.apply(x * levels) / levels

    def weights(x, bits):
        if bits == 1:
            return Sign.apply(x, x >= 0, math.inf)
        t = torch.tanh(x)
        return 2 * uniform(t / (2 * t.abs().max()) + 0.5, bits) - 1

    def activations(x, bits):
        if bits == 1:
            return Sign.apply(x, x > 0, 1.0)
        return uniform(torch.clamp(x, 0.0, 1.0), bits)

    def case(name, quantize, x, bits):
        cases.option(name, bits=bits)
        cases.check_gradients(name, quantize(x, bits), x=x)

    for bits in range(1, 9):
        name = f"dorefa_weights_{bits}"
        case(name, weights, cases.normal(f"{name}/x", (3, 2, 2, 4), 0.4), bits)
        name = f"dorefa_activations_{bits}"
        values = [0.0, 1.0, -1.0, 1.5] + [cases.random.gauss(0.4, 0.6) for _ in range(36)]
        case(name, activations, cases.given(f"{name}/x", (2, 2, 2, 5), values), bits)
    name = "dorefa_weights_ties"  # at the largest weight, which share its gradient
    case(name, weights, cases.given(f"{name}/x", (4,), [0.5, -0.5, 0.1, 0.5]), 2)
    return cases


def philox(counter, key):
    """Four words of Philox 4x32-10 (Salmon et al., SC11)."""
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [b >> 32 ^ counter[1] ^ key[0], b & 0xFFFFFFFF, a >> 32 ^ counter[3] ^ key[1], a & 0xFFFFFFFF]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter


def dropout():
    """F.dropout draws masks of its own: PyTorch computes with those that a counter-based generator gives for a seed."""
    cases = Cases("dropout")
    for name, shape, p, seed in (("half", (3, 4, 5), 0.5, 7), ("rare", (40, 3), 0.1, 11), ("most", (2, 50), 0.9, 13)):
        cases.option(name, p=p, seed=seed)
        x = cases.normal(f"{name}/x", shape)
        words = [philox([i >> 2, 0, 0, 0], [seed, 0])[i & 3] for i in range(math.prod(shape))]
        kept = torch.tensor([(word >> 8) / 2**24 >= p for word in words], dtype=torch.float64).reshape(shape)
        cases.check_gradients(name, x * kept / (1 - p), x=x)
    return cases


def read(path):
    content = path.read_bytes()
    length = struct.unpack_from("<Q", content)[0]
    header, data = json.loads(content[8:8 + length]), content[8 + length:]
    out = {}
    for key, entry in header.items():
        begin, end = entry["data_offsets"]
        code = FORMATS[entry["dtype"]]
        out[key] = (entry["dtype"], entry["shape"],
                    list(struct.unpack(f"<{(end - begin) // struct.calcsize(code)}{code}", data[begin:end])))
    return out


def differences(cases, path):
    """What differs between fresh cases and a file, as texts."""
    if not path.exists():
        return [f"{path.name}: missing"]
    stored = read(path)
    out = [f"{path.name}: {key} on one side only" for key in stored.keys() ^ cases.tensors.keys()]
    for key in stored.keys() & cases.tensors.keys():
        dtype, shape, values = cases.tensors[key]
        if (dtype, shape) != stored[key][:2]:
            out.append(f"{path.name}: {key} is {stored[key][:2]}, fresh {(dtype, shape)}")
            continue
        far = [abs(a - b) for a, b in zip(values, stored[key][2]) if abs(a - b) > 1e-12 * max(1.0, abs(a))]
        if far:
            out.append(f"{path.name}: {key} differs by {max(far):.3g}")
    return sorted(out)


def main(arguments):
    check = "--check" in arguments
    folders = [a for a in arguments if a != "--check"]
    default = pathlib.Path(__file__).resolve().parent.parent / "tests" / "reference"
    folder = pathlib.Path(folders[0]) if folders else default
    torch.set_num_threads(1)
    found = []
    for cases in (conv2d(), linear(), batch_norm(), pooling("max_pool2d"), pooling("avg_pool2d"), global_avg_pool(),
                  activations(), arithmetic(), softmax(), losses(), optimizers(), schedules(), quantizers(), dropout()):
        path = folder / f"{cases.name}.safetensors"
        if check:
            found += differences(cases, path)
        else:
            content = cases.to_bytes()
            path.write_bytes(content)
            print(f"{path.name}: {len(cases.tensors)} tensors, {len(content)} bytes")
    if check:
        print("\n".join(found or ["all the same"]))
    else:
        print(f"written to {folder}, PyTorch {torch.__version__}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
