"""detectron2's R-CNN models without detectron2: configuration, weights and dense parts.

Names of modules, and so of weights, are detectron2's; what they compute is what its documentation
and its published models define. Nothing of detectron2 is imported.
"""
