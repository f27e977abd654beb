"""Draws that go through PyTorch's global generators, without a trace."""

from gengap._streams import own_draws as own_draws
