"""The confusion matrix: which classes are shown, and in which order."""

import itertools

import numpy as np

from tools.showing.confusion import ordered, worst


def test_the_classes_of_the_most_frequent_confusions_are_shown():
    matrix = 9 * np.eye(6, dtype=int)
    matrix[4, 1], matrix[1, 4] = 3, 2  # together 5
    matrix[0, 2] = 4
    matrix[2, 5] = 3
    assert worst(matrix, 2) == worst(matrix, 3) == [1, 4]
    assert worst(matrix, 4) == [0, 1, 2, 4]
    assert worst(matrix, 5) == [0, 1, 2, 4, 5]  # class 3 is confused with none
    assert worst(matrix, 6) == list(range(6))


def test_confused_classes_are_neighbours():
    matrix = 10 * np.eye(6, dtype=int)
    for a, b in ((0, 5), (1, 3), (2, 4)):
        matrix[a, b], matrix[b, a] = 6, 2
    order = ordered(matrix, list(range(6)))
    assert sorted(order) == list(range(6))
    neighbours = {frozenset(pair) for pair in itertools.pairwise(order)}
    assert {frozenset(pair) for pair in ((0, 5), (1, 3), (2, 4))} <= neighbours


def test_the_order_is_the_best_one_for_a_chain():
    """Classes that are confused with the next one only: the chain itself has the smallest sum of distances."""
    chain = [3, 0, 4, 1, 2]
    matrix = 100 * np.eye(5, dtype=int)
    for i, (a, b) in enumerate(itertools.pairwise(chain)):
        matrix[a, b] = 40 - 5 * i
    order = ordered(matrix, list(range(5)))
    assert order in (chain, chain[::-1])


def test_few_or_empty_classes_keep_their_order():
    assert ordered(np.zeros((2, 2), dtype=int), [0, 1]) == [0, 1]
    assert sorted(ordered(np.zeros((4, 4), dtype=int), [0, 1, 2, 3])) == [0, 1, 2, 3]
