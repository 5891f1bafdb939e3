"""The part of Dassl's API that CoOp-family trainers and datasets use, written anew for current torch.

Same names, signatures, config keys, log lines and file names as Dassl 0.6.3
(https://github.com/KaiyangZhou/Dassl.pytorch), so that unchanged trainers and datasets run on either.
"""

__version__ = "0.6.3"  # the version of the API
