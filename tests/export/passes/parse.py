"""Parses a model with TensorRT-RTX's parser, in a process of its own.

    python parse.py MODEL.onnx [--build]

Prints the network's layers, tensors, inputs and outputs as JSON, and the size of a plan for SM86 on
demand; exits 1 with the parser's or the builder's errors. A process
of its own, as the parser ends it on a node that names a plugin.
"""

from __future__ import annotations

import json
import sys


def main() -> int:
    """What the parser says."""
    import tensorrt_rtx_bindings as trt

    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(sys.argv[1]):
        for i in range(parser.num_errors):
            error = parser.get_error(i)
            print(f"{error.node_name()}: {error.desc()}", file=sys.stderr)
        return 1
    ends = {
        "inputs": [network.get_input(i) for i in range(network.num_inputs)],
        "outputs": [network.get_output(i) for i in range(network.num_outputs)],
    }
    found = {
        side: {t.name: [t.dtype.name, list(t.shape)] for t in tensors}
        for side, tensors in ends.items()
    }
    tensors = {}
    for layer in (network.get_layer(i) for i in range(network.num_layers)):
        for tensor in (layer.get_output(i) for i in range(layer.num_outputs)):
            tensors[tensor.name] = tensor.dtype.name
    size = 0
    if "--build" in sys.argv:
        config = builder.create_builder_config()
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.SM86, 0)
        batch = network.get_input(0).shape[0]
        most = 4 if batch < 0 else batch
        profile = builder.create_optimization_profile()
        sides = ((1, 64, 64, 3), (1, 192, 256, 3), (most, 1080, 1920, 3))
        profile.set_shape(network.get_input(0).name, *sides)
        config.add_optimization_profile(profile)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            return 1
        size = plan.nbytes
    print(json.dumps({"layers": network.num_layers, "plan": size, "tensors": tensors, **found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
