"""Where Q/DQ stand: what TensorRT and OpenVINO fuse."""

from __future__ import annotations

import pytest

from maskrt.calibration.layers import MAPS, find_layers, keep
from maskrt.calibration.recipe import candidates, place
from maskrt.calibration.view import GraphView
from maskrt.export.canonical import load_canonical
from tests.calibration.graphs import PARAMS


def placed(path, patterns=(), maps=True):
    model, spec = load_canonical(path)
    view = GraphView(model)
    layers = keep(find_layers(view, spec), patterns, "as asked")
    return view, layers, place(view, layers, maps=maps), spec


@pytest.mark.parametrize("name", PARAMS)
def test_inputs_of_int8_layers_and_no_others(structure, name):
    _, layers, points, _ = placed(structure(name))
    read = {(id(use.node), use.position) for point in points for use in point.uses}
    for layer in layers:
        for node in layer.nodes:
            assert ((id(node), 0) in read) == (not layer.kept)


@pytest.mark.parametrize("name", PARAMS)
def test_one_scale_for_what_the_poolers_read(structure, name):
    view, _, points, _ = placed(structure(name))
    by_tensor = {point.tensor: point for point in points}
    maps = {m for pool in view.operators("MultilevelRoIAlign") for m in pool.input[2:]}
    assert maps <= set(by_tensor)
    assert len({by_tensor[name].group for name in maps}) == 1
    pools = view.operators("MultilevelRoIAlign")
    read = [u for m in maps for u in by_tensor[m].uses if u.node.op_type == "MultilevelRoIAlign"]
    assert {id(use.node) for use in read} == set(map(id, pools))


def test_residual_adds_read_the_identity_quantised(canonical):
    view, _, points, _ = placed(canonical("mask_rcnn"))
    uses = {
        id(use.node): use for point in points for use in point.uses if use.node.op_type == "Add"
    }
    adds = [
        node
        for node in view.nodes
        if node.op_type == "Add" and not any(n in view.constants for n in node.input)
    ]
    assert len(adds) == 10
    for node in adds[:7]:  # residual blocks: 4 stages, two each but the last
        use = uses[id(node)]
        main, other = node.input[1 - use.position], node.input[use.position]
        assert view.producers[main].op_type == "Conv"
        producer = view.producers[other]
        if producer.op_type == "Conv":  # the projection of a stage's first block
            assert view.shape(producer.input[1])[2:] == [1, 1]
        else:
            assert producer.op_type == "Relu"
    for node in adds[7:]:  # FPN: the lateral convolution adds the upsampled map
        use = uses[id(node)]
        assert view.producers[node.input[use.position]].op_type == "Resize"


def test_what_is_only_moved_keeps_its_scale(canonical):
    view, _, points, _ = placed(canonical("mask_rcnn"))
    by_tensor = {point.tensor: point for point in points}
    resized = [node for node in view.nodes if node.op_type == "Resize"]
    assert resized
    for node in resized:
        assert by_tensor[node.output[0]].group == by_tensor[node.input[0]].group
        assert any(use.node is node for use in by_tensor[node.input[0]].uses)


@pytest.mark.slow(reason="exported at full width")
def test_p6_has_the_scale_of_p5(structure):
    view, _, points, _ = placed(structure("v2"))
    by_tensor = {point.tensor: point for point in points}
    pooled = [n for n in view.nodes if n.op_type == "MaxPool" and n.input[0] in by_tensor]
    assert len(pooled) == 1
    assert by_tensor[pooled[0].output[0]].group == by_tensor[pooled[0].input[0]].group


def test_kept_layers_leave_no_needless_points(canonical):
    _, _, points, _ = placed(canonical("mask_rcnn"), ["mask head", "box head"])
    _, _, every, _ = placed(canonical("mask_rcnn"))
    names = {point.tensor for point in points}
    assert names < {point.tensor for point in every}
    assert not any(name.startswith(("mask_head", "box_head")) for name in names)
    _, _, none, _ = placed(canonical("mask_rcnn"), ["*"], maps=False)
    assert none == []


def test_maps_in_higher_precision(canonical):
    _, _, points, _ = placed(canonical("mask_rcnn"), [MAPS], maps=False)
    uses = [use for point in points for use in point.uses]
    assert not any(use.node.op_type == "MultilevelRoIAlign" for use in uses)


@pytest.mark.parametrize("name", PARAMS)
def test_candidates_cover_every_choice(structure, name):
    view, layers, _, _ = placed(structure(name))
    known = set(candidates(view, layers))
    low = [layer.name for layer in layers if not layer.kept]
    for start in range(0, len(low), 3):
        chosen = keep(layers, low[start::2], "as asked")
        assert {point.tensor for point in place(view, chosen)} <= known
