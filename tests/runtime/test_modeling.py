"""Backbones, heads, SimpleNet and the functions of `dassl.modeling.ops` equal plain formulas."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dassl.engine import SimpleNet, SimpleTrainer
from dassl.modeling import BACKBONE_REGISTRY, NETWORK_REGISTRY, Backbone, build_backbone, build_head, build_network
from dassl.modeling.ops import ReverseGrad, cross_entropy, mixup, utils
from tests.user_errors import raises_user_error

from . import toy


@BACKBONE_REGISTRY.register(force=True)
class ToyBackbone(Backbone):
    def __init__(self, pretrained=False):
        super().__init__()
        self._out_features = 6
        self.layer = nn.Linear(3 * 8 * 8, 6)
        self.pretrained = pretrained

    def forward(self, image):
        return self.layer(image.flatten(1))


def make_net(num_classes=3, **head):
    cfg = toy.make_cfg("", "").clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.NAME = "ToyBackbone"
    for key, value in head.items():
        cfg.MODEL.HEAD[key] = value
    return SimpleNet(cfg, cfg.MODEL, num_classes)


def test_building_by_name(capsys):
    assert build_backbone("ToyBackbone").out_features == 6 and Backbone().out_features is None
    NETWORK_REGISTRY.register(ToyBackbone, force=True)
    build_network("ToyBackbone", verbose=False)
    build_head("mlp", hidden_layers=4)
    assert capsys.readouterr().out == "Backbone: ToyBackbone\nHead: mlp\n"
    with raises_user_error("MODEL.BACKBONE.NAME", "ToyBackbone", "'resnet18'"):
        build_backbone("resnet18")
    with raises_user_error("MODEL.HEAD.NAME", "'mlp'", "'mpl'"):
        build_head("mpl")


def test_mlp():
    layers = list(build_head("mlp", in_features=6, hidden_layers=(5, 4), activation="leaky_relu", dropout=0.5).mlp)
    assert [type(layer) for layer in layers] == 2 * [nn.Linear, nn.BatchNorm1d, nn.LeakyReLU, nn.Dropout]
    assert [layers[i].weight.shape for i in (0, 4)] == [(5, 6), (4, 5)]
    plain = build_head("mlp", in_features=6, hidden_layers=5, bn=False)
    assert [type(layer) for layer in plain.mlp] == [nn.Linear, nn.ReLU] and plain.out_features == 5
    with raises_user_error("MODEL.HEAD.ACTIVATION", "relu", "'gelu'"):
        build_head("mlp", hidden_layers=5, activation="gelu")
    with raises_user_error("MODEL.HEAD.HIDDEN_LAYERS"):
        build_head("mlp", hidden_layers=())


def test_simple_net(capsys):
    image = torch.randn(4, 3, 8, 8)
    net = make_net(NAME="mlp", HIDDEN_LAYERS=(5,)).eval()
    logits, features = net(image, return_feature=True)
    assert net.fdim == 5 and logits.shape == (4, 3) and features.shape == (4, 5) and net.backbone.pretrained
    assert torch.equal(net(image), net.classifier(net.head(net.backbone(image))))
    bare = make_net(num_classes=0)
    assert torch.equal(bare(image), bare.backbone(image)) and bare.fdim == 6


def test_a_trainer_without_build_model_trains_simple_net(toy_root, tmp_path, capsys):
    trainer = SimpleTrainer(toy.make_cfg(toy_root, tmp_path, MODEL__BACKBONE__NAME="ToyBackbone"))
    assert trainer.get_model_names() == ["model"] and isinstance(trainer.model, SimpleNet)
    assert f"# params: {6 * 193 + 3 * 7:,}" in capsys.readouterr().out
    assert 0 <= trainer.test() <= 100


def test_cross_entropy_smooths_labels():
    logits, label = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 3])
    target = 0.9 * F.one_hot(label, 4) + 0.1 / 4
    expected = -(target * logits.log_softmax(1)).sum(1)
    torch.testing.assert_close(cross_entropy(logits, label, label_smooth=0.1, reduction="none"), expected)
    torch.testing.assert_close(cross_entropy(logits, label), F.cross_entropy(logits, label))


def test_mixup():
    torch.manual_seed(0)
    weight = torch.distributions.Beta(0.5, 0.5).sample([6, 1, 1, 1])
    assert weight.min() < 0.5  # otherwise preserve_order would have no effect
    x1, x2 = torch.ones(6, 3, 2, 2), torch.zeros(6, 3, 2, 2)
    y1, y2 = torch.eye(6), torch.zeros(6, 6)
    for preserve, expected in ((False, weight), (True, torch.maximum(weight, 1 - weight))):
        torch.manual_seed(0)
        image, label = mixup(x1, x2, y1, y2, 0.5, preserve_order=preserve)
        assert torch.equal(image, expected.expand_as(image)) and torch.equal(label.diagonal(), expected.flatten())


def test_gradient_reversal():
    x = torch.ones(3, requires_grad=True)
    out = ReverseGrad()(x, 0.5)
    out.sum().backward()
    assert torch.equal(out, x) and torch.equal(x.grad, torch.full((3,), -0.5))
    with raises_user_error("grad_scaling", "-1"):
        ReverseGrad()(x, -1)


def test_functions_for_semi_supervised_learning():
    p = torch.tensor([[0.25, 0.75]])
    torch.testing.assert_close(utils.sharpen_prob(p), torch.tensor([[0.1, 0.9]]))
    assert utils.create_onehot(torch.tensor([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    data, label = torch.arange(8).reshape(4, 2), torch.arange(4)
    assert [x.tolist() for x in utils.reverse_index(data, label)] == [[[6, 7], [4, 5], [2, 3], [0, 1]], [3, 2, 1, 0]]
    shuffled, labels = utils.shuffle_index(data, label)
    assert torch.equal(shuffled[:, 0] // 2, labels) and sorted(labels.tolist()) == [0, 1, 2, 3]
    assert [utils.linear_rampup(step, 4) for step in (-1, 1, 9)] == [0, 0.25, 1]
    assert utils.sigmoid_rampup(1, 4) == pytest.approx(math.exp(-5 * 0.75**2))
    with raises_user_error("rampup_length", "0"):
        utils.linear_rampup(1, 0)
    new, average = nn.Linear(1, 1), nn.Linear(1, 1)
    expected = 0.9 * average.weight.item() + 0.1 * new.weight.item()
    utils.ema_model_update(new, average, 0.9)
    assert average.weight.item() == pytest.approx(expected)
