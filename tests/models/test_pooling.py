import torch

from archselect.models.ops import AvgPool, MaxPool

ROWS = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, -9.0]])[None, None]


def test_the_maximum_of_the_window_around_each_pixel():
    assert MaxPool(1)(ROWS)[0, 0].tolist() == [[5, 6, 6], [8, 8, 8], [8, 8, 8]]
    assert MaxPool(2)(ROWS)[0, 0].tolist() == [[5, 6], [8, 8]]


def test_the_maximum_of_negative_values_is_not_the_padding():
    assert MaxPool(1)(torch.full((1, 1, 2, 2), -3.0)).unique().tolist() == [-3]


def test_the_average_leaves_out_what_lies_outside():
    # Corner (0, 0): (1 + 2 + 4 + 5) / 4; middle: all nine, 27 / 9.
    out = AvgPool(1)(ROWS)[0, 0]
    assert out[0, 0] == 3
    assert out[1, 1] == 3
    assert out[2, 2] == (5 + 6 + 8 - 9) / 4
    torch.testing.assert_close(AvgPool(2)(ROWS)[0, 0], out[::2, ::2])
