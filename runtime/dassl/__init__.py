"""The part of Dassl's API that CoOp-family trainers and datasets use, reimplemented for current torch.

Names, signatures, config keys, log lines and file names are those of Dassl 0.6.3
(https://github.com/KaiyangZhou/Dassl.pytorch), so that the same trainers and datasets run on both.
"""

__version__ = "0.6.3"  # the version of the API
