"""What maskrt supports: every row of the README's table, run and recorded.

    python -m benchmarks.support                 # rows that docs/support.json lacks
    python -m benchmarks.support --again NAME …  # these rows anew
    python -m benchmarks.support --list

Run in the project's folder. Weights are random and worth testing with (`tests/eager.py`,
`tests/detectron2_reference`), frames are smooth pictures, the canvas is 256x320. For each model:

* the canonical file in ONNX Runtime against the eager model (torchvision), or against a restatement
  of detectron2's inference in plain PyTorch that shares no code with maskrt: each detection has a
  twin, and the largest differences are recorded;
* bundles of ONNX Runtime and OpenVINO against the canonical file, likewise; OpenVINO in bfloat16,
  where the processor has it: which part of the detections has a twin;
* the graph of TensorRT plugin nodes, through TensorRT-RTX's parser with stand-ins for the plugins;
* TensorRT-RTX bundles, compiled without a GPU and not run;
* INT8, calibrated on few pictures: its part of the multiplications; its file runs, its bundles are
  built and those for CPUs run. Accuracy is measured on the trained models only (COCO's AP).
"""
