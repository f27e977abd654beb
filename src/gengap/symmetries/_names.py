"""Names of the functions of PyTorch that a followed pass knows by what they do."""

from typing import Any


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SILENT = _words("""
    shape size dim ndim dtype device numel nelement is_floating_point is_complex is_nested layout
    stride is_contiguous requires_grad is_cuda is_sparse is_quantized is_mkldnn is_meta __len__
    get_device element_size storage_offset is_leaf grad_fn names itemsize is_tensor is_cpu
    requires_grad_ __hash__ register_hook retain_grad is_inference is_mps is_xpu is_signed
    data_ptr untyped_storage _is_view is_conj is_neg __repr__
""")
"""Functions that tell nothing of a tensor's values."""

MOVES = _words("""
    view reshape flatten unflatten squeeze unsqueeze transpose t T mT H mH permute movedim moveaxis
    swapaxes swapdims chunk split tensor_split unbind narrow select expand expand_as repeat
    __getitem__ cat concat concatenate stack hstack vstack dstack roll flip view_as reshape_as
    broadcast_to tile repeat_interleave pixel_shuffle pixel_unshuffle channel_shuffle index_select
    atleast_1d atleast_2d ravel adjoint diagonal unfold
""")
"""Functions that only move elements about."""

HOMOGENEOUS = _words("""
    relu leaky_relu rrelu abs absolute neg negative dropout dropout1d dropout2d dropout3d
    alpha_dropout feature_dropout feature_alpha_dropout contiguous clone detach data to float half
    double bfloat16 type type_as cpu cuda positive __pos__ __neg__ __abs__ triu tril
""")
"""Functions f with f(c x) = c f(x) for every c > 0, element by element."""

POINTWISE = _words("""
    sigmoid tanh gelu silu mish elu selu celu softplus hardtanh relu6 hardswish hardsigmoid
    hardshrink softshrink softsign tanhshrink logsigmoid exp log log1p expm1 sqrt rsqrt square pow
    sin cos erf reciprocal threshold logit nan_to_num
""")
"""Functions that treat all elements alike: no scale passes, but units may change places."""

NOT_HOMOGENEOUS = _words("""
    softmax log_softmax softmin gumbel_softmax logsumexp cumprod prod clamp clip clamp_min clamp_max
    rdiv floor ceil round gt lt ge le eq ne glu var
""")
"""Other functions to which a scale matters."""

_FIRST = ("input", "tensors", "tensor", "self")
_PLACES = {
    "where": ("condition", "input", "other"),
    "pad": ("input", "pad"),
    "_weight_norm": ("v", "g", "dim"),
    **dict.fromkeys(("maximum", "minimum", "fmax", "fmin"), ("input", "other")),
}
"""Names of what rules take by its place; of other functions only the first argument."""


def in_order(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a call's arguments, those given by name in their place where rules look for them."""
    first = tuple(word for word in _FIRST if word in kwargs)[:1]
    args, kwargs = tuple(args), dict(kwargs)
    for place, word in enumerate(_PLACES.get(name, first)):
        if place == len(args) and word in kwargs:
            args = (*args, kwargs.pop(word))
    return args, kwargs
