"""What a report was made with."""

import platform
from importlib import metadata


def versions() -> dict[str, str]:
    """Return versions of gengap, Python, the numeric libraries and the system, and the threads.

    The processor comes with the vector instructions that PyTorch uses: these, as the number of
    threads does, change the last bits. Nothing in it names the machine, its user or a folder.
    """
    import torch

    found = {"gengap": metadata.version("gengap"), "python": platform.python_version()}
    for package in ("torch", "numpy", "scipy", "pandas", "altair"):
        found[package] = metadata.version(package)
    found["torch"] = torch.__version__
    found["system"] = f"{platform.system()} {platform.release()}"
    found["processor"] = f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
    found["threads"] = str(torch.get_num_threads())
    if torch.cuda.is_available():
        found["device"] = torch.cuda.get_device_name()
        found["cuda"] = str(torch.version.cuda)
    return found
