"""The names of ImageNet's classes."""

from minicnn.data.imagenet import imagenet_classes


def test_there_are_a_thousand_names():
    names = imagenet_classes()
    assert len(names) == 1000
    assert all(name == name.strip() and name for name in names)


def test_they_stand_in_the_order_of_published_networks():
    names = imagenet_classes()
    known = {0: "tench", 207: "Golden Retriever", 283: "Persian cat", 652: "military uniform"}
    assert {k: names[k] for k in known} == known
    assert names[999] == "toilet paper"
