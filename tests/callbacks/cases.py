"""What the tests of callbacks share."""


def hooks(model):
    """Count what a meter leaves on a model: hooks, and `forward`s of single layers."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    inside = sum(len(getattr(m, kind)) for m in model.modules() for kind in kinds)
    return inside + sum("forward" in vars(m) for m in list(model.modules())[1:])
