"""RAdam (https://arxiv.org/abs/1908.03265) as in Dassl: with the decoupled weight decay of AdamW."""

import torch


class RAdam(torch.optim.RAdam):
    """Torch's RAdam with Dassl's arguments. Early steps, with unreliable variance, are those of SGD with momentum."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, degenerated_to_sgd: bool = True):
        if not degenerated_to_sgd:
            raise ValueError(
                "RAdam: degenerated_to_sgd must be True, got False: torch's RAdam always uses SGD steps at first"
            )
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, decoupled_weight_decay=True)
