"""What stands between layers, and torch.compile."""

from functools import cache


@cache
def keep_out_the_compiler() -> None:
    """Let `torch.compile` call what stands between layers instead of tracing it.

    It does so with PyTorch's own packages: none of their frames is compiled. Nor is the product
    of layers, which would be compiled for every shape anew. Loads the compiler, as every
    optimizer of PyTorch does.
    """
    from torch._dynamo import trace_rules

    trace_rules.add(__package__)
    trace_rules.add("gengap._linear")
